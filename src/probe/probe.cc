#include "probe/probe.h"

#include <fmt/format.h>

#include "base/clock.h"
#include "base/thread_pool.h"
#include "probe/best_of.h"
#include "probe/build_id.h"
#include "probe/parts.h"

namespace trimeter {

namespace {

// Far enough apart that what disturbs one part in one pass is over in another.
constexpr int kPasses = 3;

}  // namespace

HardwareProfile measure_hardware(int n_threads, const std::vector<std::string>& schemes,
                                 const ProbeProgress& on_progress) {
  const CpuInfo& cpu = cpu_info();
  const Isa isa = active_isa();
  ThreadPool team(n_threads);
  HardwareProfile empty;
  empty.name = cpu.model;
  empty.isa = name(isa);
  empty.measured_at = utc_now();
  empty.build = build_id();
  empty.threads = team.size();
  empty.memory_bytes = cpu.memory_bytes;
  empty.l2_bytes = cpu.l2_bytes;
  empty.l3_bytes = cpu.l3_bytes;

  const int total = kPasses * (5 + static_cast<int>(schemes.size()));
  int done = 0;
  const auto part = [&](const std::string& what, auto&& measure) {
    if (on_progress) on_progress(what, done, total);
    measure();
    ++done;
  };
  HardwareProfile best;
  FixedCosts least;
  for (int pass = 0; pass < kPasses; ++pass) {
    HardwareProfile profile = empty;
    FixedCosts costs;
    part("read bandwidth", [&] { measure_bandwidth(profile, isa); });
    part("dot products", [&] { measure_dot_rates(profile, team, isa); });
    for (const std::string& measured : schemes)
      part(fmt::format("kernel {}", measured), [&] { measure_scheme(profile, team, measured, isa); });
    part("attention", [&] { measure_attention(profile, team, isa); });
    part("elementwise operations", [&] { measure_elementwise(profile, team, isa); });
    part("barriers and fixed costs", [&] { costs = measure_fixed_costs(team, isa); });
    if (pass == 0) {
      best = std::move(profile);
      least = costs;
    } else {
      keep_best(best, profile);
      keep_best(least, costs);
    }
  }
  solve_overheads(best, least, isa, team.size());
  if (on_progress) on_progress("", total, total);
  return best;
}

}  // namespace trimeter
