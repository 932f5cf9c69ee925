// The meters that are predicted as well as measured: one table for reconciling, ordering and advising.
#pragma once
#include <span>
#include <string_view>

#include "record/record.h"

namespace trimeter {

struct PredictedMeter {
  std::string_view name;  // as in the record
  double (*predicted)(const RecordPredicted&);
  Sampled (*measured)(const RecordMeasured&);  // an exact count is one sample
  bool higher_is_better;
  double band;  // relative
};

std::span<const PredictedMeter> predicted_meters();
const PredictedMeter& predicted_meter(std::string_view name);

// Whether the 95% intervals have a point in common: a difference that the measurement does not show.
bool intervals_overlap(const Sampled& a, const Sampled& b);

}  // namespace trimeter
