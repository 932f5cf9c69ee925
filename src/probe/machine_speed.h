// How fast the machine is at this moment, as a share of what its profile says: a shared machine is not always the one
// that was measured, and a miss that this accounts for is not the cost model's.
#pragma once
#include "base/thread_pool.h"
#include "cost/hardware.h"

namespace trimeter {

struct MachineSpeed {
  double arithmetic = 1;  // the profile's first kernel, weights in cache, all threads: against kernels
  double bandwidth = 1;   // reads of kSpeedBytes, all threads: against read_bandwidth
  double barrier = 1;     // barriers of all threads, each at least kLeastBarrierSeconds: against barrier_s
};

inline constexpr int64_t kSpeedBytes = int64_t{8} << 20;
inline constexpr double kLeastBarrierSeconds = 1e-6;  // below it a barrier is next to nothing in any step

// Takes some 30 ms. The mean over these, not the best moment: what a run gets is meant, a busy neighbour included; only
// the barrier is at its best, which tells whether the profile's was measured in peace. `team` has profile.threads
// members, and the profile kernels. Tried in place of the kernel: dot products in
// registers, which read 0.97 while the engine ran at 0.6 of what it does on a machine of its own.
MachineSpeed machine_speed(const HardwareProfile& profile, ThreadPool& team);

// Whether a prediction from this profile can be expected to hold on the machine as it is: arithmetic and bandwidth
// within kSameSpeed of 1, and no barrier that the profile has more than twice as long.
inline constexpr double kSameSpeed = 0.2, kMostBarrier = 2;
bool describes(const MachineSpeed& speed);

}  // namespace trimeter
