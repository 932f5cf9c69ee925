#include "probe/probe.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "probe/build_id.h"
#include "probe/parts.h"
#include "schemes/scheme.h"

namespace trimeter {

HardwareProfile measure_hardware(int n_threads, const ProbeProgress& on_progress) {
  const CpuInfo& cpu = cpu_info();
  const Isa isa = active_isa();
  ThreadPool team(n_threads);
  HardwareProfile profile;
  profile.name = cpu.model;
  profile.isa = name(isa);
  profile.measured_at = utc_now();
  profile.build = build_id();
  profile.threads = team.size();
  profile.memory_bytes = cpu.memory_bytes;
  profile.l2_bytes = cpu.l2_bytes;
  profile.l3_bytes = cpu.l3_bytes;

  const int total = 5 + static_cast<int>(all_schemes().size());
  int done = 0;
  const auto part = [&](const std::string& what, auto&& measure) {
    if (on_progress) on_progress(what, done, total);
    measure();
    ++done;
  };
  part("read bandwidth", [&] { measure_bandwidth(profile, isa); });
  part("dot products", [&] { measure_dot_rates(profile, team, isa); });
  for (const Scheme* measured : all_schemes())
    part(fmt::format("kernel {}", measured->info().name),
         [&] { measure_scheme(profile, team, measured->info().name, isa); });
  part("attention", [&] { measure_attention(profile, team, isa); });
  part("elementwise operations", [&] { measure_elementwise(profile, team, isa); });
  part("barriers and fixed costs", [&] { measure_overheads(profile, team, isa); });
  if (on_progress) on_progress("", total, total);
  return profile;
}

}  // namespace trimeter
