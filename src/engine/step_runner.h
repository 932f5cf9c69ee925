#pragma once
#include <cstdint>
#include <span>

#include "model/forward.h"

namespace trimeter {

// What computes a step: the model in the engine, something that can be checked by hand in tests.
class StepRunner {
 public:
  virtual ~StepRunner() = default;
  virtual void run(const StepBatch& batch) = 0;
  // logits[i, vocab] of rows[i] of the last run: at most max_num_seqs rows a call; valid until the next call.
  virtual std::span<const float> logits(std::span<const int32_t> rows) = 0;
  // The largest logit's token of each, the lowest among equals, -1 where one is not finite: for runners that find it
  // where the logits are computed. Empty: ask for logits.
  virtual std::span<const int32_t> largest(std::span<const int32_t>) { return {}; }
  // Marks its operations from now on; null: no longer. False: it can't tell them apart.
  virtual bool time_operations(OpClock*) { return false; }
};

}  // namespace trimeter
