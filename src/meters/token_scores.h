// Teacher-forced scores of several engines over the same passages, token by token.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "meters/meter.h"

namespace trimeter {

struct Scorer {
  std::string name;
  Engine* engine = nullptr;
  int max_batch = 0;  // as Engine::score has it
};

// One entry per scored token, in the order of the passages; quality.h has the formulas. The first scorer is the
// baseline, against which kld, delta_p and same_top1 are.
struct TokenScores {
  std::vector<double> nll, kld, delta_p;
  std::vector<bool> same_top1;
};

using Passages = std::span<const std::vector<int32_t>>;

// Passages go in groups whose logits take at most max_group_bytes, but of two at least: one alone would never be
// batched. Throws what quality.h says.
std::vector<TokenScores> score_passages(std::span<const Scorer> scorers, Passages passages,
                                        const MeterProgress& progress, size_t max_group_bytes = size_t{256} << 20);

}  // namespace trimeter
