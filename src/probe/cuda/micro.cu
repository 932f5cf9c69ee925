#include "base/cuda/cuda.h"
#include "probe/cuda/micro.h"

namespace trimeter::cuda {
namespace {

constexpr int kBlocks = 132 * 8, kThreads = 512, kLoads = 8;

__global__ void __launch_bounds__(kThreads) read_kernel(const float4* data, int64_t n, float* sums) {
  float sum = 0;
  const int64_t stride = int64_t{kBlocks} * kThreads;
  int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  for (; i + (kLoads - 1) * stride < n; i += kLoads * stride) {
    float4 loaded[kLoads];
#pragma unroll
    for (int j = 0; j < kLoads; ++j) loaded[j] = __ldcs(data + i + j * stride);
#pragma unroll
    for (int j = 0; j < kLoads; ++j) sum += loaded[j].x + loaded[j].y + loaded[j].z + loaded[j].w;
  }
  for (; i < n; i += stride) sum += data[i].x;
  sums[blockIdx.x * kThreads + threadIdx.x] = sum;
}

__global__ void touch_kernel(float* value) { *value = 1; }

}  // namespace

void read_all(const void* data, int64_t bytes, float* sums, cudaStream_t stream) {
  read_kernel<<<kBlocks, kThreads, 0, stream>>>(static_cast<const float4*>(data), bytes / 16, sums);
  TM_CUDA_CHECK(cudaGetLastError());
}

int64_t read_sums() { return int64_t{kBlocks} * kThreads; }

void touch(float* value, cudaStream_t stream) {
  touch_kernel<<<1, 1, 0, stream>>>(value);
  TM_CUDA_CHECK(cudaGetLastError());
}

}  // namespace trimeter::cuda
