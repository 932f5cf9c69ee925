#include "base/gpu.h"

#ifdef TM_CUDA
#include <cuda_runtime_api.h>
#endif

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
                             static_cast<int64_t>(properties.totalGlobalMem)});
  }
  return probe;
}
#else
GpuProbe probe_gpus() { return {{}, "built without CUDA (cmake --preset cuda builds with it)"}; }
#endif

}  // namespace trimeter
