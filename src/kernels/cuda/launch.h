// What every launch here does afterwards, and the error for arguments no kernel takes. No other library than CUDA's, so
// that one nvcc line builds these kernels.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace trimeter::cuda {

inline void check_launch(const char* kernel) {
  if (const cudaError_t status = cudaGetLastError(); status != cudaSuccess)
    throw std::runtime_error(std::string(kernel) + ": " + cudaGetErrorString(status));
}

[[noreturn]] inline void unsupported(const char* what) {
  throw std::runtime_error(std::string("no CUDA kernel for ") + what);
}

// Of the current device at the first call.
struct Card {
  int compute_capability = 0;  // 10 * major + minor
  int n_multiprocessors = 0;
  int shared_bytes = 0, shared_of_sm = 0;  // that a CTA can have; of a multiprocessor
};
inline const Card& card() {
  static const Card card = [] {
    int device = 0;
    cudaGetDevice(&device);
    const auto attribute = [&](cudaDeviceAttr which) {
      int value = 0;
      cudaDeviceGetAttribute(&value, which, device);
      return value;
    };
    return Card{10 * attribute(cudaDevAttrComputeCapabilityMajor) + attribute(cudaDevAttrComputeCapabilityMinor),
                attribute(cudaDevAttrMultiProcessorCount), attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
                attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor)};
  }();
  return card;
}
inline int compute_capability() { return card().compute_capability; }
// Kernels that overlap, and clusters of CTAs.
inline bool has_clusters() { return compute_capability() >= 90; }

// Launches a kernel that may start before the one ahead of it in the stream is done (compute capability 9.0 and above).
// Every kernel launched so waits in all CTAs that do anything (ptx.cuh: wait_for_inputs), so that a kernel's end means
// the end of all before it. cluster: CTAs of a cluster, along x; more than 1 only where has_clusters().
template <class... Parameters, class... Arguments>
void launch_in_clusters(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes, int cluster,
                        cudaStream_t stream, Arguments&&... arguments) {
  cudaLaunchAttribute attributes[2]{};
  int n = 0;
  if (has_clusters()) {
    attributes[n].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[n++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    attributes[n].id = cudaLaunchAttributeClusterDimension;
    attributes[n++].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = static_cast<unsigned>(n);
  if (const cudaError_t status = cudaLaunchKernelEx(&config, kernel, Parameters(arguments)...); status != cudaSuccess)
    throw std::runtime_error(std::string("launch: ") + cudaGetErrorString(status));
}
template <class... Parameters, class... Arguments>
void launch_overlapped(void (*kernel)(Parameters...), dim3 grid, int threads, size_t shared_bytes, cudaStream_t stream,
                       Arguments&&... arguments) {
  launch_in_clusters(kernel, grid, threads, shared_bytes, 1, stream, std::forward<Arguments>(arguments)...);
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

}  // namespace trimeter::cuda
