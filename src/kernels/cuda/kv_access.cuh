// The cache as kernels read it, and its elements as floats or 16-bit pairs.
// Inside a head's half of a block: K and V are both [block_size][head_dim], int8 with fp16 [block_size] behind.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/ptx.cuh"

namespace trimeter::cuda {

// A layer of the cache.
struct CacheView {
  char* blocks;  // of this layer
  int64_t block_bytes, half_bytes;
  int block_size, head_dim, n_kv_heads;
  int scales_at;  // behind a half's elements
  float k_scale, v_scale;

  __device__ char* k(int64_t block, int head) const { return blocks + block * block_bytes + head * 2 * half_bytes; }
  __device__ char* v(int64_t block, int head) const { return k(block, head) + half_bytes; }
};
inline CacheView cache_view(const KvView& kv, int64_t layer, KvScale scale) {
  const KvLayout& layout = kv.layout;
  CacheView view{};
  view.blocks = reinterpret_cast<char*>(kv.blocks) + layout.k_offset(0, layer, 0);
  view.block_bytes = layout.block_bytes();
  view.half_bytes = layout.half_bytes();
  view.block_size = static_cast<int>(layout.block_size);
  view.head_dim = static_cast<int>(layout.head_dim);
  view.n_kv_heads = static_cast<int>(layout.n_kv_heads);
  view.scales_at = static_cast<int>(layout.element_bytes());
  const bool scaled = layout.dtype == DType::kF8E4M3;
  view.k_scale = scaled ? scale.k : 1.0f;
  view.v_scale = scaled ? scale.v : 1.0f;
  return view;
}

// Element: what lies in memory. Operand: what tensor cores multiply, in which every element is exact.
struct KvF32 {
  using Element = float;
  static constexpr bool kTokenScales = false;
  static __device__ float widen(Element e) { return e; }
  static __device__ Element narrow(float x, float) { return x; }
};
struct KvF16 {
  using Element = __half;
  using Operand = __half;
  static constexpr bool kTokenScales = false;
  static __device__ float widen(Element e) { return __half2float(e); }
  static __device__ Element narrow(float x, float) { return __float2half_rn(x); }
  static __device__ uint32_t pack(float low, float high) { return pack_f16x2(low, high); }
};
struct KvBF16 {
  using Element = __nv_bfloat16;
  using Operand = __nv_bfloat16;
  static constexpr bool kTokenScales = false;
  static __device__ float widen(Element e) { return __bfloat162float(e); }
  static __device__ Element narrow(float x, float) { return __float2bfloat16_rn(x); }
  static __device__ uint32_t pack(float low, float high) { return pack_bf16x2(low, high); }
};
struct KvE4M3 {
  using Element = uint8_t;
  using Operand = __half;
  static constexpr bool kTokenScales = false;
  static __device__ float widen(Element e) { return __half2float(__half(__nv_cvt_fp8_to_halfraw(e, __NV_E4M3))); }
  static __device__ Element narrow(float x, float scale) {
    return __nv_cvt_float_to_fp8(__fdiv_rn(x, scale), __NV_SATFINITE, __NV_E4M3);
  }
  static __device__ uint32_t pack(float low, float high) { return pack_f16x2(low, high); }
  static __device__ void widen4(uint32_t codes, uint32_t& low, uint32_t& high) { e4m3x4_to_f16(codes, low, high); }
};
struct KvI8 {
  using Element = int8_t;
  using Operand = __nv_bfloat16;
  static constexpr bool kTokenScales = true;
  static __device__ float widen(Element e) { return static_cast<float>(e); }
  static __device__ Element narrow(float x, float scale) {
    const float code = scale > 0 ? rintf(__fdiv_rn(x, scale)) : 0.0f;
    return static_cast<int8_t>(fminf(fmaxf(code, -127.0f), 127.0f));
  }
  static __device__ uint32_t pack(float low, float high) { return pack_bf16x2(low, high); }
  static __device__ void widen4(uint32_t codes, uint32_t& low, uint32_t& high) { int8x4_to_bf16(codes, low, high); }
};

// What a token's head is held in multiples of; `largest` of a lane's values, of which a warp has all.
template <class Kv>
__device__ __forceinline__ float head_scale(float largest, float fixed) {
  if constexpr (Kv::kTokenScales) {
    for (int step = 16; step > 0; step /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, step));
    return __half2float(__float2half_rn(__fdiv_rn(largest, 127.0f)));
  }
  return fixed;
}

// `launch` with the tag of the cache's dtype.
template <class Launch>
void with_kv(DType dtype, Launch&& launch) {
  switch (dtype) {
    case DType::kF32:
      return launch(KvF32{});
    case DType::kF16:
      return launch(KvF16{});
    case DType::kBF16:
      return launch(KvBF16{});
    case DType::kF8E4M3:
      return launch(KvE4M3{});
    default:
      return launch(KvI8{});
  }
}

}  // namespace trimeter::cuda
