#pragma once
#include <array>
#include <cstdint>

#include "base/step_profile.h"

namespace trimeter {

// In the order in which they run.
enum class Op {
  kEmbed,
  kNorm,
  kQkv,
  kRopeAndCache,
  kAttention,
  kPrepare,
  kAttentionOut,
  kGateUp,
  kActivate,
  kDown,
  kLmHead,
  kSampling,
  kRest,
};
inline constexpr int kOps = static_cast<int>(Op::kRest) + 1;

// Splits the wall time of steps: each mark() closes what ran since the one before it. The thread that steps marks,
// after the barrier that ends a stage, so that an operation's time is that of its slowest thread.
class OpClock {
 public:
  void begin_step();
  void mark(Op op);
  void end_step(bool is_prefill);  // what no mark has closed is the rest
  // Of the steps that have ended.
  EngineProfile profile() const;

 private:
  struct Phase {
    int64_t n_steps = 0;
    std::array<int64_t, kOps> n_calls{};
    std::array<double, kOps> seconds{};
    StepProfile profile() const;
  };
  Phase prefill_, decode_, step_;
  double marked_s_ = 0;
};

}  // namespace trimeter
