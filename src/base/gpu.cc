#include "base/gpu.h"

#ifdef TM_CUDA
#include <cuda_runtime_api.h>
#endif

#include "base/error.h"

namespace trimeter {

#ifdef TM_CUDA
GpuProbe probe_gpus() {
  GpuProbe probe;
  int n_devices = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&n_devices); status != cudaSuccess || n_devices == 0) {
    probe.why_none = status == cudaSuccess ? "the CUDA driver sees no device" : cudaGetErrorString(status);
    return probe;
  }
  for (int device = 0; device < n_devices; ++device) {
    cudaDeviceProp properties{};
    if (const cudaError_t status = cudaGetDeviceProperties(&properties, device); status != cudaSuccess) {
      probe.why_none = cudaGetErrorString(status);
      continue;
    }
    probe.devices.push_back({properties.name, 10 * properties.major + properties.minor, properties.multiProcessorCount,
                             static_cast<int64_t>(properties.totalGlobalMem), properties.l2CacheSize});
  }
  return probe;
}
#else
GpuProbe probe_gpus() { return {{}, "built without CUDA (cmake --preset cuda builds with it)"}; }
#endif

int64_t gpu_runtime_bytes() {
#ifdef TM_CUDA
  static const int64_t bytes = [] {
    size_t free_bytes = 0, total_bytes = 0;
    return cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess ? static_cast<int64_t>(total_bytes - free_bytes)
                                                                    : 0;
  }();
  return bytes;
#else
  return 0;
#endif
}

GpuInfo current_gpu() {
  GpuProbe probe = probe_gpus();
  if (probe.devices.empty()) throw Error(Errc::kUnsupported, "--device cuda: there is no device: {}", probe.why_none);
  return std::move(probe.devices.front());
}

}  // namespace trimeter
