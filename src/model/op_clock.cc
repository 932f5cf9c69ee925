#include "model/op_clock.h"

#include <string_view>

#include "base/clock.h"

namespace trimeter {
namespace {

constexpr std::array<std::string_view, kOps> kNames = {
    "embed",        "rms_norm+prepare", "qkv_proj",  "rope+kv_write", "attention", "prepare", "o_proj",
    "gate_up_proj", "silu_mul+prepare", "down_proj", "lm_head",       "sampling",  "rest"};

}  // namespace

void OpClock::begin_step() {
  step_ = {};
  marked_s_ = now_s();
}

void OpClock::mark(Op op) {
  const double at_s = now_s();
  const auto i = static_cast<size_t>(op);
  step_.seconds[i] += at_s - marked_s_;
  ++step_.n_calls[i];
  marked_s_ = at_s;
}

void OpClock::end_step(bool is_prefill) {
  mark(Op::kRest);
  Phase& phase = is_prefill ? prefill_ : decode_;
  ++phase.n_steps;
  for (size_t i = 0; i < kOps; ++i) {
    phase.n_calls[i] += step_.n_calls[i];
    phase.seconds[i] += step_.seconds[i];
  }
}

StepProfile OpClock::Phase::profile() const {
  StepProfile result{.n_steps = n_steps, .seconds = 0, .operations = {}};
  for (size_t i = 0; i < kOps; ++i) {
    if (n_calls[i] == 0) continue;
    result.operations.push_back({std::string(kNames[i]), n_calls[i], seconds[i]});
    result.seconds += seconds[i];
  }
  return result;
}

EngineProfile OpClock::profile() const { return {prefill_.profile(), decode_.profile()}; }

}  // namespace trimeter
