#include "probe/machine_speed.h"

#include <cmath>

#include "base/error.h"
#include "probe/micro_table.h"
#include "probe/parts.h"
#include "probe/team_time.h"
#include "tensor/buffer.h"

namespace trimeter {
namespace {

constexpr double kRepeatSeconds = 3e-4;
constexpr int kRepeats = 31;

double bandwidth_speed(const HardwareProfile& profile, ThreadPool& team, const MicroTable& micro) {
  static const Buffer memory(kSpeedBytes, "machine speed");
  const double seconds = mean(times_per_call(
      team,
      [&](int thread) {
        const auto [begin, end] = team.share(kSpeedBytes, thread, kReadUnit);
        unused_sum = micro.read(memory.as<char>() + begin, end - begin);
      },
      kRepeatSeconds, kRepeats));
  return static_cast<double>(kSpeedBytes) / seconds / profile.read_bandwidth_bytes_per_s(team.size(), kSpeedBytes);
}

double barrier_speed(const HardwareProfile& profile, ThreadPool& team) {
  const double seconds = time_per_call(
      team, [&](int) { team.barrier(); }, kRepeatSeconds / 10, kRepeats);
  return std::max(profile.barrier_s, kLeastBarrierSeconds) / std::max(seconds, kLeastBarrierSeconds);
}

}  // namespace

MachineSpeed machine_speed(const HardwareProfile& profile, ThreadPool& team) {
  const Isa isa = active_isa();
  TM_CHECK(!profile.kernels.empty(), "{}: a profile without kernels", profile.name);
  return {kernel_speed(profile, team, profile.kernels.front(), isa), bandwidth_speed(profile, team, micro_table(isa)),
          barrier_speed(profile, team)};
}

bool describes(const MachineSpeed& speed) {
  return std::fabs(speed.arithmetic - 1) <= kSameSpeed && std::fabs(speed.bandwidth - 1) <= kSameSpeed &&
         speed.barrier <= kMostBarrier;
}

}  // namespace trimeter
