// The parts of a measurement; each fills its fields of a profile. `team` is as large as profile.threads.
#pragma once
#include "base/cpu.h"
#include "base/thread_pool.h"
#include "cost/hardware.h"

namespace trimeter {

// read_bandwidth: by thread count and by working set, from within L2 to far beyond L3.
void measure_bandwidth(HardwareProfile& profile, Isa isa);
// rates
void measure_dot_rates(HardwareProfile& profile, ThreadPool& team, Isa isa);
// kernels of one scheme, appended; needs read_bandwidth
void measure_scheme(HardwareProfile& profile, ThreadPool& team, std::string_view scheme_name, Isa isa);
// attention_*
void measure_attention(HardwareProfile& profile, ThreadPool& team, Isa isa);
// elementwise_seconds_per_byte, sampling_seconds_per_logit
void measure_elementwise(HardwareProfile& profile, ThreadPool& team, Isa isa);
// barrier_s, step_overhead_s, layer_overhead_s; needs all the others
void measure_overheads(HardwareProfile& profile, ThreadPool& team, Isa isa);

}  // namespace trimeter
