#include "lab/known_machine.h"

#include <algorithm>
#include <set>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/cpu_wait.h"
#include "base/error.h"
#include "base/log.h"
#include "probe/machine_speed.h"

namespace trimeter {
namespace {

HardwareProfile profile_in_file(const std::string& path, Target target, int n_threads) {
  HardwareProfile profile = read_hardware_profile(path);
  if (profile.isa != name(target))
    throw Error(Errc::kBadArgument, "{}: isa: wanted {}, which runs here, got {}", path, name(target), profile.isa);
  if (!target.is_gpu() && profile.threads != n_threads)
    throw Error(Errc::kBadArgument, "{}: threads: wanted {}, as many as run here, got {}", path, n_threads,
                profile.threads);
  if (profile.kernels.empty())
    TM_WARN("{}: no kernels: throughput is predicted from peak rates, and the machine is not probed", path);
  return profile;
}

}  // namespace

HardwareProfile known_machine(const std::string& path, Target target, std::span<const Contender> contenders,
                              ThreadPool& team, const ProbeProgress& on_progress) {
  if (!path.empty()) return profile_in_file(path, target, team.size());
  std::set<std::string> schemes;
  for (const Contender& c : contenders)
    for (const std::string& scheme : schemes_of(c.spec, c.format)) schemes.insert(scheme);
  const std::vector<std::string> wanted(schemes.begin(), schemes.end());
  if (target.is_gpu()) return load_or_measure_gpu(wanted, on_progress);
  HardwareProfile profile = load_or_measure(team.size(), wanted, on_progress);
  const MachineSpeed now = machine_speed(profile, team);
  if (describes(now)) return profile;
  TM_WARN(
      "The machine is not as its profile of {} has it (arithmetic {:.2f}, bandwidth {:.2f}, barriers {:.2f} times as "
      "fast): measuring it anew",
      profile.measured_at, now.arithmetic, now.bandwidth, now.barrier);
  return measure_and_keep(team.size(), wanted, on_progress);
}

RecordHardware record_of(const HardwareProfile& profile) {
  int64_t largest = 0;  // what does not fit any cache: the memory's own bandwidth
  for (const BandwidthPoint& point : profile.read_bandwidth) largest = std::max(largest, point.working_set_bytes);
  return {profile.name,    profile.kind,         profile.isa,
          profile.threads, profile.memory_bytes, profile.read_bandwidth_bytes_per_s(profile.threads, largest),
          profile.rates,   profile.measured_at,  {}};
}

void SpeedLog::probe() {
  if (profile_.kernels.empty() || profile_.kind != "cpu") return;
  const std::optional<double> now_waited = cpu_wait_s();
  if (waited_ && now_waited) waits_.push_back((*now_waited - *waited_) / (team_.size() * (now_s() - began_)));
  const MachineSpeed speed = machine_speed(profile_, team_);
  arithmetic_.push_back(speed.arithmetic);
  bandwidth_.push_back(speed.bandwidth);
  began_ = now_s();
  waited_ = cpu_wait_s();
}

std::optional<RecordSpeed> SpeedLog::take() {
  if (arithmetic_.empty()) return {};
  RecordSpeed speed{Sampled::of(std::move(arithmetic_)), Sampled::of(std::move(bandwidth_)), {}};
  if (!waits_.empty()) speed.cpu_wait = Sampled::of(std::move(waits_));
  return speed;
}

}  // namespace trimeter
