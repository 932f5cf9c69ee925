// One token from one row of logits, in vLLM's order of operations (vLLM: v1/sample/sampler.py):
//   logprobs from the logits as the model gave them
//   repetition penalty over prompt and output: x > 0 ? x / p : x * p      (arXiv:1909.05858)
//   temperature below 1e-5: the largest logit, the lowest token among equals
//   x / temperature; min_p: drop p_i < min_p * p_max; top_k: drop what is below the k-th largest (equals of it stay);
//   top_p: keep the fewest most likely tokens whose probabilities reach top_p
//   one draw from what is left, by inversion of the distribution in double
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "api/engine.h"

namespace trimeter {

// In [0, 1): a function of the request's key and of how many tokens it has generated, of nothing else. A request's
// draws are therefore the same whatever else is in the batch, and after a preemption.
double uniform_draw(uint64_t key, int64_t n_generated);

// The largest logit, penalised if there is a penalty, whatever the draw.
bool is_greedy(const SamplingParams& params);

// Nothing but the largest logit, as it is.
bool takes_largest(const SamplingParams& params);

// Throws Error(kBadArgument) naming the parameter, wanted and got.
void check_sampling_params(const SamplingParams& params);

class Sampler {
 public:
  explicit Sampler(int32_t vocab_size);  // all scratch is taken here: sampler_bytes() of the ledger

  // tokens: prompt and output so far; uniform in [0, 1). Throws Error(kUnsupported) for a logit, as it is or penalised,
  // that is infinite or NaN: activations have left what the format can hold.
  int32_t sample(std::span<const float> logits, const SamplingParams& params, std::span<const int32_t> tokens,
                 double uniform);
  // The sampled token's first, then those of the n most likely tokens (the sampled one among them again), most likely
  // first, the lowest token first among equals.
  void logprobs(std::span<const float> logits, int32_t sampled, int32_t n, std::vector<TokenLogprob>& result);

  int64_t bytes() const {
    return static_cast<int64_t>(penalised_.size() * sizeof(float) + candidates_.size() * sizeof(int32_t));
  }

 private:
  int32_t draw(std::span<const float> logits, const SamplingParams& params, double uniform);

  std::vector<float> penalised_;     // [vocab]
  std::vector<int32_t> candidates_;  // [vocab]: tokens that a filter has left
};

}  // namespace trimeter
