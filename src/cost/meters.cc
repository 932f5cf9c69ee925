#include "cost/meters.h"

#include "base/error.h"
#include "cost/reconcile.h"

namespace trimeter {
namespace {

Sampled exact(int64_t count) { return Sampled::of({static_cast<double>(count)}); }

#define TM_SAMPLED_METER(field, higher_is_better)                                                                      \
  {                                                                                                                    \
#field,                                                                                                            \
        [](const RecordPredicted& p) { return p.field; },                                                              \
                                                       [](const RecordMeasured& m) { return m.field; },                \
                                                                                                     higher_is_better, \
                                                                                                     kThroughputBand   \
  }
constexpr PredictedMeter kMeters[] = {
    TM_SAMPLED_METER(generation_tokens_per_s, true),
    TM_SAMPLED_METER(decode_tokens_per_s, true),
    TM_SAMPLED_METER(prompt_tokens_per_s, true),
    TM_SAMPLED_METER(ttft_s, false),
    TM_SAMPLED_METER(itl_s, false),
    {"kv_blocks", [](const RecordPredicted& p) { return static_cast<double>(p.kv_blocks); },
     [](const RecordMeasured& m) { return exact(m.kv_blocks); }, true, kBlocksBand},
};
#undef TM_SAMPLED_METER

}  // namespace

std::span<const PredictedMeter> predicted_meters() { return kMeters; }

const PredictedMeter& predicted_meter(std::string_view wanted) {
  for (const PredictedMeter& meter : kMeters)
    if (meter.name == wanted) return meter;
  TM_CHECK(false, "no meter {}", wanted);
}

bool intervals_overlap(const Sampled& a, const Sampled& b) {
  return a.ci95_low <= b.ci95_high && b.ci95_low <= a.ci95_high;
}

}  // namespace trimeter
