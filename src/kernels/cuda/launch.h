// What every launch here does afterwards, and the error for arguments no kernel takes. No other library than CUDA's, so
// that one nvcc line builds these kernels.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace trimeter::cuda {

inline void check_launch(const char* kernel) {
  if (const cudaError_t status = cudaGetLastError(); status != cudaSuccess)
    throw std::runtime_error(std::string(kernel) + ": " + cudaGetErrorString(status));
}

[[noreturn]] inline void unsupported(const char* what) {
  throw std::runtime_error(std::string("no CUDA kernel for ") + what);
}

// Launches a kernel that may start before the one ahead of it in the stream is done (compute capability 9.0 and above).
// Every kernel launched so waits in all CTAs that do anything (ptx.cuh: wait_for_inputs), so that a kernel's end means
// the end of all before it.
template <class... Parameters, class... Arguments>
void launch_overlapped(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes, cudaStream_t stream,
                       Arguments&&... arguments) {
  static const bool overlap = [] {
    int device = 0, major = 0;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    return major >= 9;
  }();
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = overlap ? 1 : 0;
  if (const cudaError_t status = cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...); status != cudaSuccess)
    throw std::runtime_error(std::string("launch: ") + cudaGetErrorString(status));
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace trimeter::cuda
