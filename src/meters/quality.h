// Meter 3: what a format did to the model's answers, against the baseline's own distribution.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "meters/meter.h"
#include "record/record.h"

namespace trimeter {

struct QualityPrompt {
  std::string text;             // for the record
  std::vector<int32_t> tokens;  // what is run
};

struct QualityWorkload {
  std::vector<std::vector<int32_t>> passages;  // teacher-forced; every token but a passage's first is scored
  std::vector<QualityPrompt> prompts;          // answered greedily until EOS or max_tokens
  int32_t max_tokens = 64;
};

struct FormatQuality {
  std::string format;
  RecordQuality quality;
};

struct QualityReport {
  std::vector<FormatQuality> formats;  // in the order of the engines; the first is the baseline
  RecordQuality noise_floor;           // the baseline scored one passage at a time against itself batched; no outputs
};

// Per scored token, with b the baseline's and f the format's logits in nats:
//   nll = -log f(true)            perplexity = exp(mean nll), se = perplexity * se(mean nll)   (delta method)
//   nll_f - nll_b, paired         perplexity_ratio = exp(mean), se likewise
//   KLD(b || f) = sum_v b(v) (log b(v) - log f(v))
//   top-1: argmax b == argmax f (the lowest id of equals)
//   delta_p = f(true) - b(true), a fraction, not per cent
// Standard errors are clustered by passage (base/stats.h), the passages being what was sampled; 0 for a single passage.
// All in double; baseline and format share one code path, so equal logits give a KLD of exactly 0.
// Memory: logits of a group of passages, at most 256 MiB or two passages, whichever is more.
// Throws Error(kBadArgument) for no engine, no passage, a passage of fewer than two tokens, vocabularies that differ;
// Error(kUnsupported) naming format, passage and position for logits that are not finite.
QualityReport measure_quality(std::span<const NamedEngine> engines, const QualityWorkload& workload,
                              const MeterProgress& progress = {});

}  // namespace trimeter
