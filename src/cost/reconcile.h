// Predicted against measured: ratio, band, ordering, and a term that explains a miss, or "unexplained". Never smoothed.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "record/record.h"

namespace trimeter {

inline constexpr double kBlocksBand = 0.005;
inline constexpr double kThroughputBand = 0.25;

// One row per measured run and meter: generation_tokens_per_s, decode_tokens_per_s, prompt_tokens_per_s, ttft_s, itl_s,
// kv_blocks. Runs without a measurement have none.
std::vector<RecordReconciliation> reconcile(const Record& record);
// By meter, best first, whether the ordering came out as predicted. Formats whose measured 95% intervals overlap are
// tied, and predictions within a tenth of the band of each other claim no order: either order of
// them holds, and the explanation says so.
std::map<std::string, RecordOrdering> compare_orderings(const Record& record);

}  // namespace trimeter
