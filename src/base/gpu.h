// The CUDA devices of this machine. Needs the `cuda` preset: without it the program has no CUDA runtime to ask.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace trimeter {

struct GpuInfo {
  std::string name;
  int compute_capability = 0;  // 10 * major + minor: 90 for Hopper
  int n_multiprocessors = 0;
  int64_t memory_bytes = 0, l2_bytes = 0;
};

struct GpuProbe {
  std::vector<GpuInfo> devices;
  std::string why_none;  // one sentence if there are none: built without CUDA, no driver, no device
};

GpuProbe probe_gpus();

// The first device. Throws Error(kUnsupported) if there is none.
GpuInfo current_gpu();

// Memory of that device in use before this process took any: its context, and what other processes hold. Measured at
// the first call, 0 without a device.
int64_t gpu_runtime_bytes();

}  // namespace trimeter
