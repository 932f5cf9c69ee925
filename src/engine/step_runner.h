#pragma once
#include <cstdint>
#include <span>

#include "api/engine.h"
#include "model/forward.h"

namespace trimeter {

// What is wanted of a row's logits.
struct RowChoice {
  const SamplingParams* sampling = nullptr;  // null: the logits themselves
  std::span<const int32_t> tokens{};         // prompt and output so far
  double uniform = 0;                        // of the draw
};
struct ChosenToken {
  int32_t token = -1;
  std::span<const TokenLogprob> logprobs{};  // as Sampler::logprobs gives them, if sampling asks for any
};

// What computes a step: the model in the engine, something that can be checked by hand in tests.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual void run(const StepBatch& batch) = 0;
  // logits[i, vocab] of rows[i] of the last run: at most max_num_seqs rows a call, which ascend; valid until the next
  // call.
  virtual std::span<const float> logits(std::span<const int32_t> rows) = 0;
  // For runners that choose a row's token where its logits are computed, as Sampler::sample does. -1: one is not
  // finite, or it is not chosen there; ask for its logits. Empty: ask for those of all rows.
  virtual std::span<const ChosenToken> choose(std::span<const int32_t>, std::span<const RowChoice>) { return {}; }
  // Marks its operations from now on; null: no longer. False: it can't tell them apart.
  virtual bool time_operations(OpClock*) { return false; }
};

}  // namespace trimeter
