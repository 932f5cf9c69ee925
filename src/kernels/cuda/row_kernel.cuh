// One kernel for all that makes a linear's input: values of a token from a Source, rounded or quantized, and written.
// A token is shared by `parts` CTAs, so that one token alone does not wait for one multiprocessor; what all of them
// must know (a sum of squares, a largest value) crosses a cluster's shared memory. A thread keeps its values in
// registers, four neighbours at a time: a group of 128 is a warp's.
//
// A Source says
//   kNorm      whether values are scaled by 1 / rms and multiplied with gain(i)
//   kPartMost  values of a CTA that are as many as one should have while there are few tokens
//   value4(token, i, in)  values i .. i + 3, by every thread of a warp; what lies beyond `in` is not looked at
//   value(token, i)       any one
//   to_row(token)         where in the output it goes; -1: nowhere, in forms that need nothing of the whole token
#pragma once
#include <cooperative_groups.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/cuda/input_codes.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/ptx.cuh"

namespace trimeter::cuda {

inline constexpr int kMostRowThreads = 1024, kMostParts = 8;

struct RowArgs {
  DeviceInput out;
  int parts, part;  // CTAs of a token, and values of each: a multiple of 128
  bool clustered;
};

#if __CUDA_ARCH__ >= 900
__device__ __forceinline__ void arrive_in_cluster() { asm volatile("barrier.cluster.arrive.aligned;" ::: "memory"); }
__device__ __forceinline__ void wait_in_cluster() { asm volatile("barrier.cluster.wait.aligned;" ::: "memory"); }
#endif

// Of a token. first: wait, before others are written to, for the arrive_in_cluster() at their begin.
template <class Op>
__device__ float reduce_in_token(float value, Op op, bool first, const RowArgs& args, float (&shared)[32],
                                 float (&of_parts)[kMostParts]) {
  value = reduce_in_cta(value, op, shared);
#if __CUDA_ARCH__ >= 900
  if (args.clustered) {
    const auto cluster = cooperative_groups::this_cluster();
    if (first) wait_in_cluster();
    if (threadIdx.x < args.parts) *cluster.map_shared_rank(&of_parts[cluster.block_rank()], threadIdx.x) = value;
    arrive_in_cluster();
    wait_in_cluster();
    value = of_parts[0];
    for (int part = 1; part < args.parts; part++) value = op(value, of_parts[part]);
  }
#endif
  return value;
}

template <class Code>
__device__ __forceinline__ void write_codes(const DeviceInput& out, int64_t at, int count, const float (&v)[4],
                                            Code code) {
  auto* to = static_cast<uint8_t*>(out.values) + at;
  if (count == 4) {
    *reinterpret_cast<uint32_t*>(to) = code(v[0]) | code(v[1]) << 8 | code(v[2]) << 16 | code(v[3]) << 24;
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < count) to[e] = static_cast<uint8_t>(code(v[e]));
}
template <class T, class Narrow>
__device__ __forceinline__ void write_floats(const DeviceInput& out, int64_t at, int count, const float (&v)[4],
                                             Narrow narrow) {
  T* to = static_cast<T*>(out.values) + at;
  alignas(16) T all[4] = {narrow(v[0]), narrow(v[1]), narrow(v[2]), narrow(v[3])};
  using Whole = std::conditional_t<sizeof(T) == 2, uint2, uint4>;
  if (count == 4) {
    *reinterpret_cast<Whole*>(to) = *reinterpret_cast<const Whole*>(all);
    return;
  }
#pragma unroll
  for (int e = 0; e < 4; e++)
    if (e < count) to[e] = all[e];
}

__device__ __forceinline__ float largest(const float (&v)[4]) {
  return fmaxf(fmaxf(fabsf(v[0]), fabsf(v[1])), fmaxf(fabsf(v[2]), fabsf(v[3])));
}

template <class Source, int kQuads>
__global__ void __launch_bounds__(kMostRowThreads)
    row_kernel(const __grid_constant__ Source source, const __grid_constant__ RowArgs args) {
  __shared__ float sums[32], most_of_warp[32], sums_of_parts[kMostParts], most_of_parts[kMostParts];
  let_next_start();
#if __CUDA_ARCH__ >= 900
  if (args.clustered) arrive_in_cluster();
#endif
  const DeviceInput& out = args.out;
  const int in = static_cast<int>(out.in), begin = static_cast<int>(blockIdx.x) % args.parts * args.part,
            end = min(begin + args.part, in);
  const int64_t token = blockIdx.x / args.parts;
  const bool whole = in % 4 == 0;  // a quad is there whole or not at all, and aligned
  const auto first = [&](int q) {
    return begin + (q * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x)) * 4;
  };
  const auto count = [&](int q) { return whole ? (first(q) < end ? 4 : 0) : min(max(end - first(q), 0), 4); };
  const auto at = [&](int i) { return out.input_order != nullptr ? out.input_order[i] : i; };

  float gain[kQuads][4];
  if constexpr (Source::kNorm) {
#pragma unroll
    for (int q = 0; q < kQuads; q++)
#pragma unroll
      for (int e = 0; e < 4; e++) gain[q][e] = e < count(q) ? source.gain[at(first(q) + e)] : 0.0f;
  }
  wait_for_inputs();
  const int64_t row = source.to_row(token), base = row * out.in;
  if (row < 0) return;
  float v[kQuads][4];
#pragma unroll
  for (int q = 0; q < kQuads; q++) {
    if (whole && out.input_order == nullptr) {
      const float4 four = source.value4(token, first(q), end);
      v[q][0] = four.x, v[q][1] = four.y, v[q][2] = four.z, v[q][3] = four.w;
    } else {
#pragma unroll
      for (int e = 0; e < 4; e++) v[q][e] = e < count(q) ? source.value(token, at(first(q) + e)) : 0.0f;
    }
  }
  if constexpr (Source::kNorm) {
    float sum = 0;
#pragma unroll
    for (int q = 0; q < kQuads; q++)
#pragma unroll
      for (int e = 0; e < 4; e++) sum += v[q][e] * v[q][e];
    const float scale = inverse_rms(reduce_in_token(sum, Add{}, true, args, sums, sums_of_parts), in, source.eps);
#pragma unroll
    for (int q = 0; q < kQuads; q++)
#pragma unroll
      for (int e = 0; e < 4; e++) v[q][e] = gain[q][e] * (v[q][e] * scale);
  }

  const auto amax = [&] {
    float most = 0;
#pragma unroll
    for (int q = 0; q < kQuads; q++) most = fmaxf(most, largest(v[q]));
    return reduce_in_token(most, Max{}, !Source::kNorm, args, most_of_warp, most_of_parts);
  };
  const auto each = [&](auto&& write) {
#pragma unroll
    for (int q = 0; q < kQuads; q++)
      if (count(q) > 0) write(base + first(q), count(q), v[q]);
  };
  switch (out.form) {
    case InputForm::kF32:
      each([&](int64_t to, int n, const float(&x)[4]) {
        write_floats<float>(out, to, n, x, [](float f) { return f; });
      });
      break;
    case InputForm::kF16:
      each([&](int64_t to, int n, const float(&x)[4]) {
        write_floats<__half>(out, to, n, x, [](float f) { return __float2half_rn(f); });
      });
      break;
    case InputForm::kBF16:
      each([&](int64_t to, int n, const float(&x)[4]) {
        write_floats<__nv_bfloat16>(out, to, n, x, [](float f) { return __float2bfloat16_rn(f); });
      });
      break;
    case InputForm::kE4M3Token: {
      const float scale = e4m3_scale(amax());
      if (begin == 0)
        for (int64_t r = threadIdx.x; r < out.scale_rows; r += blockDim.x) out.scales[r * out.n_tokens + row] = scale;
      const Divisor by = divisor(scale);
      each([&](int64_t to, int n, const float(&x)[4]) {
        write_codes(out, to, n, x, [&](float f) { return e4m3(by(f)); });
      });
      break;
    }
    case InputForm::kE4M3Static: {
      const float inverse = __fdiv_rn(1.0f, out.static_scale);
      each([&](int64_t to, int n, const float(&x)[4]) {
        write_codes(out, to, n, x, [&](float f) { return e4m3(f * inverse); });
      });
      break;
    }
    case InputForm::kE4M3Group128:
#pragma unroll
      for (int q = 0; q < kQuads; q++) {
        float most = largest(v[q]);
#pragma unroll
        for (int step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
        const float scale = __fdiv_rn(fmaxf(most, 1e-10f), 448.0f);
        if (count(q) == 0) continue;
        if (threadIdx.x % 32 == 0) out.scales[first(q) / 128 * out.n_tokens + row] = scale;
        write_codes(out, base + first(q), count(q), v[q], [&](float f) { return e4m3(__fdiv_rn(f, scale)); });
      }
      break;
    case InputForm::kI8Token: {
      const float most = amax();
      const float scale = int8_scale(most), inverse = int8_inverse(most);
      if (threadIdx.x == 0 && begin == 0) out.scales[row] = scale;
      each([&](int64_t to, int n, const float(&x)[4]) {
        write_codes(out, to, n, x, [&](float f) { return int8(f * inverse); });
      });
      break;
    }
    case InputForm::kI8Static:
      each([&](int64_t to, int n, const float(&x)[4]) {
        write_codes(out, to, n, x, [&](float f) { return int8(__fdiv_rn(f, out.static_scale)); });
      });
      break;
  }
}

// How many CTAs a token gets: while tokens are few, as many as keep a CTA's part at Source::kPartMost; with many, whole
// tokens fill the card.
template <class Source>
void launch_rows(const Source& source, const DeviceInput& out, cudaStream_t stream) {
  constexpr int64_t kMostCtas = 2112, kPartOfMany = 4 * kMostRowThreads;
  const bool shared = Source::kNorm || out.form == InputForm::kE4M3Token || out.form == InputForm::kI8Token;
  int64_t parts = 1;
  while (parts < kMostParts && (has_clusters() || !shared) && ceil_div(out.in, parts) > Source::kPartMost) parts *= 2;
  while (parts > 1 && parts * out.n_tokens > kMostCtas && ceil_div(out.in, parts / 2) <= kPartOfMany) parts /= 2;
  const RowArgs args{out, static_cast<int>(parts), static_cast<int>(round_up(ceil_div(out.in, parts), 128)),
                     shared && parts > 1};
  const int64_t quads = args.part / 4, of_thread = ceil_div(quads, kMostRowThreads);
  const auto launch = [&]<int kQuads>() {
    const int threads = static_cast<int>(round_up(ceil_div(quads, kQuads), 32));
    launch_in_clusters(row_kernel<Source, kQuads>, dim3(static_cast<unsigned>(out.n_tokens * parts)), threads, 0,
                       args.clustered ? args.parts : 1, stream, source, args);
  };
  if (of_thread <= 1) return launch.template operator()<1>();
  if (of_thread <= 2) return launch.template operator()<2>();
  if (of_thread <= 4) return launch.template operator()<4>();
  if (of_thread <= 8) return launch.template operator()<8>();
  unsupported("inputs this wide");
}

}  // namespace trimeter::cuda
