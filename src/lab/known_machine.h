// The machine that a comparison runs on: its profile, how fast it is from round to round, and the record's words for
// both.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "cost/hardware.h"
#include "lab/contender.h"
#include "probe/probe.h"
#include "record/record.h"

namespace trimeter {

// From a file, which must be of the ISA and the threads, or the compute capability, that run here; or, with an empty
// path, this machine's own with the kernels of all contenders: the kept one, measured anew if there is none or if the
// machine is not as it says.
HardwareProfile known_machine(const std::string& path, Target target, std::span<const Contender> contenders,
                              ThreadPool& team, const ProbeProgress& on_progress);

RecordHardware record_of(const HardwareProfile& profile);

// Called between the rounds of a meter; a card is not probed.
class SpeedLog {
 public:
  SpeedLog(const HardwareProfile& profile, ThreadPool& team) : profile_(profile), team_(team) {}
  void probe();
  // Absent if the profile has no kernels to compare with, or nothing was probed.
  std::optional<RecordSpeed> take();

 private:
  const HardwareProfile& profile_;
  ThreadPool& team_;
  std::vector<double> arithmetic_, bandwidth_, waits_;
  double began_ = 0;
  std::optional<double> waited_;  // by the time a round began; the warm-up is none
};

}  // namespace trimeter
