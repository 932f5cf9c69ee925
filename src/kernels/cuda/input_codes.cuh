// Values of a linear's input, their codes and scales: the formulas of schemes/fp8_e4m3, schemes/int8 and kernels/ops.h,
// each operation rounded to f32. The divisions that make codes are written out so that no compiler flag makes them
// approximate.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

#include "kernels/cuda/ops.h"

namespace trimeter::cuda {

__device__ __forceinline__ uint32_t e4m3(float value) {
  return __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3);
}
__device__ __forceinline__ uint32_t int8(float value) {
  return static_cast<uint8_t>(static_cast<int8_t>(fminf(fmaxf(rintf(value), -128.0f), 127.0f)));
}

__device__ __forceinline__ uint32_t e4m3x2(float low, float high) {
  return __nv_cvt_float2_to_fp8x2({low, high}, __NV_SATFINITE, __NV_E4M3);
}
// value / divisor, rounded once, for many values: the reciprocal is, and the remainder of the product with it tells
// what that one missed (Markstein, IBM J. Res. Dev. 34, 1990). Not where a value or the divisor is infinite.
struct Divisor {
  float divisor, reciprocal;  // 1 / divisor, rounded
  __device__ float operator()(float value) const {
    const float quotient = __fmul_rn(value, reciprocal);
    return __fmaf_rn(__fmaf_rn(-divisor, quotient, value), reciprocal, quotient);
  }
};

__device__ __forceinline__ Divisor divisor(float value) { return {value, __fdiv_rn(1.0f, value)}; }

// Of a token of which `most` is the largest magnitude.
__device__ __forceinline__ float e4m3_scale(float most) { return __fdiv_rn(fmaxf(most, 1.0f / 512.0f), 448.0f); }
__device__ __forceinline__ float int8_scale(float most) { return __fdiv_rn(most, 127.0f); }
__device__ __forceinline__ float int8_inverse(float most) { return most > 0 ? __fdiv_rn(127.0f, most) : 0.0f; }

__device__ __forceinline__ float inverse_rms(float sum_of_squares, int n, float eps) {
  return __fdiv_rn(1.0f, __fsqrt_rn(sum_of_squares / static_cast<float>(n) + eps));
}
__device__ __forceinline__ float silu_mul(float gate, float up) { return gate / (1.0f + expf(-gate)) * up; }
__device__ __forceinline__ void put_silu_mul(const SiluMul& silu, int64_t at, float gate, float up) {
  const float value = silu_mul(gate, up);
  if (silu.f16)
    static_cast<__half*>(silu.to)[at] = __float2half_rn(value);
  else
    static_cast<__nv_bfloat16*>(silu.to)[at] = __float2bfloat16_rn(value);
}

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Max {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
// Of a CTA; every thread gets it. 0 must change nothing. `shared` is this call's own.
template <class Op>
__device__ float reduce_in_cta(float value, Op op, float (&shared)[32]) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value = op(value, __shfl_xor_sync(0xffffffffu, value, step));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = threadIdx.x % 32 < blockDim.x / 32 ? shared[threadIdx.x % 32] : 0.0f;
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value = op(value, __shfl_xor_sync(0xffffffffu, value, step));
  return value;
}

}  // namespace trimeter::cuda
