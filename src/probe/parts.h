// The parts of a measurement; each fills its fields of a profile. `team` is as large as profile.threads.
#pragma once
#include "base/cpu.h"
#include "base/target.h"
#include "base/thread_pool.h"
#include "cost/hardware.h"
#include "spec/model_spec.h"

namespace trimeter {

// read_bandwidth: by thread count and by working set, from within L2 to far beyond L3.
void measure_bandwidth(HardwareProfile& profile, Isa isa);
// rates
void measure_dot_rates(HardwareProfile& profile, ThreadPool& team, Isa isa);
// kernels of one scheme, appended; needs read_bandwidth
void measure_scheme(HardwareProfile& profile, ThreadPool& team, std::string_view scheme_name, Isa isa);
// How fast a kernel that the profile has is now, as a share of the profile's: kSpeedTokens inputs, weights in cache,
// all threads, the mean over some 10 ms.
inline constexpr int64_t kSpeedTokens = 16;
double kernel_speed(const HardwareProfile& profile, ThreadPool& team, const KernelRate& rate, Isa isa);
// attention_*
void measure_attention(HardwareProfile& profile, ThreadPool& team, Isa isa);
// elementwise_seconds_per_byte, sampling_seconds_per_logit
void measure_elementwise(HardwareProfile& profile, ThreadPool& team, Isa isa);
// Times of a barrier and of a step of tiny models, which is next to nothing but fixed cost.
struct FixedCosts {
  static constexpr int kFewLayers = 2, kManyLayers = 18;
  double barrier_s = 0, few_layers_s = 0, many_layers_s = 0;
};
FixedCosts measure_fixed_costs(ThreadPool& team, Isa isa);
// barrier_s, step_overhead_s, layer_overhead_s: what of these steps all other parts of the profile do not account for.
// n_seqs: sequences of the step, each with a head of its own; as many as threads on a CPU.
void solve_overheads(HardwareProfile& profile, const FixedCosts& costs, Target target, int n_seqs);
// Those models: hidden and vocabulary of 64 for each head.
ModelSpec tiny_spec(int64_t n_layers, int n_heads);

}  // namespace trimeter
