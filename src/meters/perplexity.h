// Perplexity of a text by consecutive windows.
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "meters/meter.h"

namespace trimeter {

struct Perplexity {
  double perplexity = 0;  // exp(nll)
  // perplexity * standard error of nll, clustered by window (base/stats.h); absent for a single window: its tokens are
  // no independent sample, and show nothing of the spread.
  std::optional<double> perplexity_se;
  double nll = 0;  // mean negative log-likelihood, nats per token
  int64_t tokens_scored = 0;
  int64_t windows = 0;
};

// Windows of `context` tokens one behind the other, no token added; the last may be shorter and counts if it has two
// tokens. Every token but a window's first is scored. Throws Error(kBadArgument) for fewer than two tokens or a context
// outside [2, max_model_len], Error(kUnsupported) for logits that are not finite.
Perplexity measure_perplexity(Engine& engine, std::span<const int32_t> tokens, int32_t context,
                              const MeterProgress& progress = {});

}  // namespace trimeter
