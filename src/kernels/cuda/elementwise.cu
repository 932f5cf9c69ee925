#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/row_kernel.cuh"
#include "kernels/gpu_scratch.h"

namespace trimeter::cuda {
namespace {

struct PlainSource {
  static constexpr bool kNorm = false;
  static constexpr int64_t kPartMost = 2560;
  const float* x;
  int64_t in;
  static __device__ int64_t to_row(int64_t token) { return token; }
  __device__ float value(int64_t token, int i) const { return x[token * in + i]; }
  __device__ float4 value4(int64_t token, int i, int end) const {
    return i < end ? *reinterpret_cast<const float4*>(x + token * in + i) : float4{};
  }
};

struct NormSource {
  static constexpr bool kNorm = true;
  static constexpr int64_t kPartMost = 8192;
  const float* x;
  const int32_t* rows;
  const float* gain;
  float eps;
  int64_t in;
  static __device__ int64_t to_row(int64_t token) { return token; }
  __device__ const float* row(int64_t token) const { return x + (rows != nullptr ? rows[token] : token) * in; }
  __device__ float value(int64_t token, int i) const { return row(token)[i]; }
  __device__ float4 value4(int64_t token, int i, int end) const {
    return i < end ? *reinterpret_cast<const float4*>(row(token) + i) : float4{};
  }
};

struct SiluMulSource {
  static constexpr bool kNorm = false;
  static constexpr int64_t kPartMost = 2560;
  const float* gate_up;
  int64_t in;
  static __device__ int64_t to_row(int64_t token) { return token; }
  __device__ float value(int64_t token, int i) const {
    const float* gate = gate_up + token * 2 * in;
    return silu_mul(gate[i], gate[in + i]);
  }
  __device__ float4 value4(int64_t token, int i, int end) const {
    if (i >= end) return float4{};
    const float* from = gate_up + token * 2 * in + i;
    const float4 gate = *reinterpret_cast<const float4*>(from), up = *reinterpret_cast<const float4*>(from + in);
    return {silu_mul(gate.x, up.x), silu_mul(gate.y, up.y), silu_mul(gate.z, up.z), silu_mul(gate.w, up.w)};
  }
};

__global__ void embed_kernel(const void* table, DType dtype, const int32_t* tokens, int64_t hidden, float* x) {
  let_next_start();
  wait_for_inputs();
  const int64_t from = static_cast<int64_t>(tokens[blockIdx.x]) * hidden;
  for (int64_t i = threadIdx.x; i < hidden; i += blockDim.x) {
    float value;
    switch (dtype) {
      case DType::kF16:
        value = __half2float(static_cast<const __half*>(table)[from + i]);
        break;
      case DType::kBF16:
        value = __bfloat162float(static_cast<const __nv_bfloat16*>(table)[from + i]);
        break;
      default:
        value = static_cast<const float*>(table)[from + i];
    }
    x[blockIdx.x * hidden + i] = value;
  }
}

}  // namespace

int64_t input_values_bytes(InputForm form, int64_t n_tokens, int64_t in) {
  switch (form) {
    case InputForm::kF32:
      return n_tokens * in * 4;
    case InputForm::kF16:
    case InputForm::kBF16:
      return n_tokens * in * 2;
    default:
      return n_tokens * in;
  }
}

int64_t input_scales_bytes(InputForm form, int64_t n_tokens, int64_t in) {
  switch (form) {
    case InputForm::kE4M3Token:
      return gpu_token_scales(n_tokens, in) * 4;
    case InputForm::kI8Token:
      return n_tokens * 4;
    case InputForm::kE4M3Group128:
      return n_tokens * ceil_div(in, 128) * 4;
    default:
      return 0;
  }
}

void rms_norm_prepare(const float* x, const int32_t* rows, const float* gain, double eps, const DeviceInput& out,
                      cudaStream_t stream) {
  launch_rows(NormSource{x, rows, gain, static_cast<float>(eps), out.in}, out, stream);
}
void silu_mul_prepare(const float* gate_up, const DeviceInput& out, cudaStream_t stream) {
  launch_rows(SiluMulSource{gate_up, out.in}, out, stream);
}
void prepare(const float* x, const DeviceInput& out, cudaStream_t stream) {
  launch_rows(PlainSource{x, out.in}, out, stream);
}
void embed(const void* table, DType dtype, const int32_t* tokens, int64_t n, int64_t hidden, float* x,
           cudaStream_t stream) {
  if (dtype != DType::kF16 && dtype != DType::kBF16 && dtype != DType::kF32) unsupported("embeddings of this dtype");
  const int threads = static_cast<int>(std::clamp<int64_t>(round_up(hidden / 4, 32), 64, kMostRowThreads));
  launch_overlapped(embed_kernel, dim3(static_cast<unsigned>(n)), threads, 0, stream, table, dtype, tokens, hidden, x);
}

}  // namespace trimeter::cuda
