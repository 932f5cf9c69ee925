#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <algorithm>
#include <cfloat>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/ptx.cuh"

namespace trimeter::cuda {
namespace {

constexpr int kThreads = 1024;  // of a token, at most

struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
// Of a whole CTA; every thread gets it.
template <class Op>
__device__ float reduce(float value, Op op, float* shared) {
  for (int step = 16; step > 0; step /= 2) value = op(value, __shfl_xor_sync(0xffffffffu, value, step));
  __syncthreads();  // readers of an earlier reduction are done
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = shared[0];
  for (int warp = 1; warp < static_cast<int>(blockDim.x) / 32; warp++) value = op(value, shared[warp]);
  return value;
}

// The formulas of schemes/fp8_e4m3 and schemes/int8, each operation rounded to f32. Divisions are written out so that
// no compiler flag makes them approximate.
__device__ uint8_t e4m3(float value) { return __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3); }
__device__ int8_t int8(float value) { return static_cast<int8_t>(fminf(fmaxf(rintf(value), -128.0f), 127.0f)); }

// Writes a token's values from `row` [in] in shared memory, in the form of a linear's input.
__device__ void write_input(const DeviceInput& out, int64_t token, const float* row, float* reduction) {
  const int in = static_cast<int>(out.in);
  const auto value = [&](int i) { return row[out.input_order != nullptr ? out.input_order[i] : i]; };
  const int64_t base = token * out.in;
  const auto amax = [&] {
    float most = 0;
    for (int i = threadIdx.x; i < in; i += blockDim.x) most = fmaxf(most, fabsf(row[i]));
    return reduce(most, Max{}, reduction);
  };
  switch (out.form) {
    case InputForm::kF32:
      for (int i = threadIdx.x; i < in; i += blockDim.x) static_cast<float*>(out.values)[base + i] = value(i);
      return;
    case InputForm::kF16:
      for (int i = threadIdx.x; i < in; i += blockDim.x)
        static_cast<__half*>(out.values)[base + i] = __float2half_rn(value(i));
      return;
    case InputForm::kBF16:
      for (int i = threadIdx.x; i < in; i += blockDim.x)
        static_cast<__nv_bfloat16*>(out.values)[base + i] = __float2bfloat16_rn(value(i));
      return;
    case InputForm::kE4M3Token: {
      const float scale = __fdiv_rn(fmaxf(amax(), 1.0f / 512.0f), 448.0f);
      if (threadIdx.x == 0) out.scales[token] = scale;
      for (int i = threadIdx.x; i < in; i += blockDim.x)
        static_cast<uint8_t*>(out.values)[base + i] = e4m3(__fdiv_rn(value(i), scale));
      return;
    }
    case InputForm::kE4M3Static: {
      const float inverse = __fdiv_rn(1.0f, out.static_scale);
      for (int i = threadIdx.x; i < in; i += blockDim.x)
        static_cast<uint8_t*>(out.values)[base + i] = e4m3(value(i) * inverse);
      return;
    }
    case InputForm::kE4M3Group128: {
      // A warp takes a group, a lane four values of it.
      const int lane = threadIdx.x % 32;
      for (int group = threadIdx.x / 32; group * 128 < in; group += blockDim.x / 32) {
        float values[4], most = 0;
        for (int j = 0; j < 4; j++) {
          const int i = group * 128 + j * 32 + lane;
          values[j] = i < in ? value(i) : 0;
          most = fmaxf(most, fabsf(values[j]));
        }
        for (int step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
        const float scale = __fdiv_rn(fmaxf(most, 1e-10f), 448.0f);
        if (lane == 0) out.scales[group * out.n_tokens + token] = scale;
        for (int j = 0; j < 4; j++) {
          const int i = group * 128 + j * 32 + lane;
          if (i < in) static_cast<uint8_t*>(out.values)[base + i] = e4m3(__fdiv_rn(values[j], scale));
        }
      }
      return;
    }
    case InputForm::kI8Token: {
      const float most = amax();
      const float scale = __fdiv_rn(most, 127.0f), inverse = most > 0 ? __fdiv_rn(127.0f, most) : 0.0f;
      if (threadIdx.x == 0) out.scales[token] = scale;
      for (int i = threadIdx.x; i < in; i += blockDim.x)
        static_cast<int8_t*>(out.values)[base + i] = int8(value(i) * inverse);
      return;
    }
    case InputForm::kI8Static:
      for (int i = threadIdx.x; i < in; i += blockDim.x)
        static_cast<int8_t*>(out.values)[base + i] = int8(__fdiv_rn(value(i), out.static_scale));
      return;
  }
}

extern __shared__ float token_row[];

__global__ void rms_norm_kernel(const float* x, const int32_t* rows, const float* gain, float eps, DeviceInput out) {
  __shared__ float reduction[kThreads / 32];
  let_next_start();
  wait_for_inputs();
  const int64_t token = blockIdx.x;
  const float* from = x + (rows != nullptr ? rows[token] : token) * out.in;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < out.in; i += blockDim.x) {
    token_row[i] = from[i];
    sum += from[i] * from[i];
  }
  const float mean = reduce(sum, Add{}, reduction) / static_cast<float>(out.in);
  const float scale = __fdiv_rn(1.0f, __fsqrt_rn(mean + eps));
  for (int64_t i = threadIdx.x; i < out.in; i += blockDim.x) token_row[i] = gain[i] * (token_row[i] * scale);
  __syncthreads();
  write_input(out, token, token_row, reduction);
}

__global__ void silu_mul_kernel(const float* gate_up, DeviceInput out) {
  __shared__ float reduction[kThreads / 32];
  let_next_start();
  wait_for_inputs();
  const float* gate = gate_up + blockIdx.x * 2 * out.in;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < out.in; i += blockDim.x) {
    const float g = gate[i];
    token_row[i] = g / (1.0f + expf(-g)) * gate[out.in + i];
  }
  __syncthreads();
  write_input(out, blockIdx.x, token_row, reduction);
}

__global__ void prepare_kernel(const float* x, DeviceInput out) {
  __shared__ float reduction[kThreads / 32];
  let_next_start();
  wait_for_inputs();
  for (int64_t i = threadIdx.x; i < out.in; i += blockDim.x) token_row[i] = x[blockIdx.x * out.in + i];
  __syncthreads();
  write_input(out, blockIdx.x, token_row, reduction);
}

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

constexpr int kArgmaxThreads = 1024;
__global__ void argmax_kernel(const float* logits, int64_t vocab, int32_t* tokens) {
  __shared__ float best_of_warp[32];
  __shared__ int token_of_warp[32];
  let_next_start();
  wait_for_inputs();
  const float* row = logits + blockIdx.x * vocab;
  float best = -FLT_MAX;
  int token = 0x7fffffff;
  bool finite = true;
#pragma unroll 8
  for (int i = threadIdx.x; i < vocab; i += kArgmaxThreads) {
    const float logit = row[i];
    finite &= fabsf(logit) <= FLT_MAX;
    if (logit > best || (logit == best && i < token)) best = logit, token = i;
  }
  const auto take = [&](float other, int other_token) {
    if (other > best || (other == best && other_token < token)) best = other, token = other_token;
  };
  for (int step = 16; step > 0; step /= 2)
    take(__shfl_xor_sync(0xffffffffu, best, step), __shfl_xor_sync(0xffffffffu, token, step));
  if (threadIdx.x % 32 == 0) best_of_warp[threadIdx.x / 32] = best, token_of_warp[threadIdx.x / 32] = token;
  const bool all_finite = __syncthreads_and(finite);
  if (threadIdx.x >= 32) return;
  best = best_of_warp[threadIdx.x];
  token = token_of_warp[threadIdx.x];
  for (int step = 16; step > 0; step /= 2)
    take(__shfl_xor_sync(0xffffffffu, best, step), __shfl_xor_sync(0xffffffffu, token, step));
  if (threadIdx.x == 0) tokens[blockIdx.x] = all_finite ? token : -1;
}

dim3 grid(int64_t n) { return dim3(static_cast<unsigned>(n)); }
// Threads of a token: four of its values each, where there are as many.
int threads_for(int64_t in) { return static_cast<int>(std::clamp<int64_t>(round_up(in / 4, 32), 64, kThreads)); }
// A token's row in shared memory.
template <class Kernel>
size_t row_bytes(Kernel kernel, int64_t in) {
  const auto bytes = static_cast<size_t>(in) * sizeof(float);
  if (bytes > (48 << 10))
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  return bytes;
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
  launch_overlapped(rms_norm_kernel, grid(out.n_tokens), threads_for(out.in), row_bytes(rms_norm_kernel, out.in),
                    stream, x, rows, gain, static_cast<float>(eps), out);
}
void silu_mul_prepare(const float* gate_up, const DeviceInput& out, cudaStream_t stream) {
  launch_overlapped(silu_mul_kernel, grid(out.n_tokens), threads_for(out.in), row_bytes(silu_mul_kernel, out.in),
                    stream, gate_up, out);
}
void prepare(const float* x, const DeviceInput& out, cudaStream_t stream) {
  launch_overlapped(prepare_kernel, grid(out.n_tokens), threads_for(out.in), row_bytes(prepare_kernel, out.in), stream,
                    x, out);
}
void embed(const void* table, DType dtype, const int32_t* tokens, int64_t n, int64_t hidden, float* x,
           cudaStream_t stream) {
  if (dtype != DType::kF16 && dtype != DType::kBF16 && dtype != DType::kF32) unsupported("embeddings of this dtype");
  launch_overlapped(embed_kernel, grid(n), threads_for(hidden), 0, stream, table, dtype, tokens, hidden, x);
}
void argmax(const float* logits, int64_t n_rows, int64_t vocab, int32_t* tokens, cudaStream_t stream) {
  launch_overlapped(argmax_kernel, grid(n_rows), kArgmaxThreads, 0, stream, logits, vocab, tokens);
}

}  // namespace trimeter::cuda
