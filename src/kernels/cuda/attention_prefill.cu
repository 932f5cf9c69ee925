// Causal attention of many rows of a sequence over its cache (arXiv:2205.14135, 2307.08691). A CTA has 64 rows of one
// head, a warp 16 of them; tiles of 64 tokens of K and V, widened to 16 bits on the way, lie in shared memory, the next
// tile being copied while one is multiplied. q and the weights are rounded to 16 bits; sums are f32.
// Traffic: the cache once for every head and 64 rows, out of L2 for the most part; 4 * head_dim operations a score.
#include <cmath>

#include "kernels/cuda/attention_args.cuh"
#include "kernels/cuda/launch.h"

namespace trimeter::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps, kRows = 16 * kWarps, kTokens = 64;

template <int kHeadDim>
struct Config {
  static constexpr int kRowBytes = 2 * kHeadDim;
  static constexpr int kHalfBytes = kTokens * kRowBytes, kScaleBytes = 2 * kTokens * 4;
  static constexpr int kTileBytes = 2 * kHalfBytes + kScaleBytes;
  static constexpr int kSharedBytes = 2 * kTileBytes;
  static constexpr int kSteps = kHeadDim / 16;

  // Eight rows of a column of 16-byte pieces, and two rows of four, fall into different banks.
  static __device__ int offset(int token, int piece) {
    return token * kRowBytes + ((piece ^ ((token & 1) << 2 | ((token >> 1) & 3))) << 4);
  }
};

__device__ __forceinline__ void ldmatrix_trans(uint32_t (&out)[4], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(shared))
               : "memory");
}

// Copies tokens [tile * 64, ...) below n_context of K and V into `to`; the others become 0.
template <class Kv, int kHeadDim>
__device__ void load_tile(const AttentionArgs& args, const int32_t* table, int kv_head, int tile, int n_context,
                          char* to) {
  using C = Config<kHeadDim>;
  constexpr bool kBytes = sizeof(typename Kv::Element) == 1;
  constexpr int kPieces = kHeadDim / (kBytes ? 16 : 8);  // 16 bytes each, of a row
  for (int i = threadIdx.x; i < kTokens * kPieces; i += kThreads) {
    const int token = i / kPieces, piece = i % kPieces, position = tile * kTokens + token;
    const bool any = position < n_context;
    const int64_t block = any ? table[position / args.cache.block_size] : 0;
    const int64_t at = (static_cast<int64_t>(position % args.cache.block_size) * kPieces + piece) * 16;
    const char* from[2] = {args.cache.k(block, kv_head) + (any ? at : 0),
                           args.cache.v(block, kv_head) + (any ? at : 0)};
#pragma unroll
    for (int half = 0; half < 2; half++) {
      char* half_to = to + half * C::kHalfBytes;
      if constexpr (kBytes) {
        const uint4 codes = any ? *reinterpret_cast<const uint4*>(from[half]) : make_uint4(0, 0, 0, 0);
        uint4 low, high;
        Kv::widen4(codes.x, low.x, low.y);
        Kv::widen4(codes.y, low.z, low.w);
        Kv::widen4(codes.z, high.x, high.y);
        Kv::widen4(codes.w, high.z, high.w);
        *reinterpret_cast<uint4*>(half_to + C::offset(token, 2 * piece)) = low;
        *reinterpret_cast<uint4*>(half_to + C::offset(token, 2 * piece + 1)) = high;
      } else {
        cp_async16(half_to + C::offset(token, piece), from[half], any ? 16 : 0);
      }
    }
  }
  if constexpr (Kv::kTokenScales) {
    float* scales = reinterpret_cast<float*>(to + 2 * C::kHalfBytes);
    for (int i = threadIdx.x; i < 2 * kTokens; i += kThreads) {
      const int position = tile * kTokens + i % kTokens;
      float scale = 0;
      if (position < n_context) {
        const int64_t block = table[position / args.cache.block_size];
        const char* half = i < kTokens ? args.cache.k(block, kv_head) : args.cache.v(block, kv_head);
        scale = __half2float(
            reinterpret_cast<const __half*>(half + args.cache.scales_at)[position % args.cache.block_size]);
      }
      scales[i] = scale;
    }
  }
  cp_async_commit();
}

template <class Kv, int kHeadDim>
__global__ void __launch_bounds__(kThreads, 2) attention_prefill_kernel(const __grid_constant__ AttentionArgs args) {
  using C = Config<kHeadDim>;
  using Operand = typename Kv::Operand;
  extern __shared__ __align__(128) char prefill_shared[];
  let_next_start();
  wait_for_inputs();
  const int seq = blockIdx.z, head = blockIdx.y, n_rows = rows_of(args.step, seq);
  const int first_row = (gridDim.x - 1 - blockIdx.x) * kRows;  // the longest contexts first
  if (n_rows <= 1 || first_row >= n_rows) return;
  const int64_t row0 = args.step.row_begin[seq] + first_row;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, q = lane % 4, kv_head = head / args.group;
  const int rows_here = min(kRows, n_rows - first_row);
  const int32_t* table = args.table(args.step.seq_of_row[row0]);
  int n_visible[2];  // of rows g and g + 8 of the warp
  uint32_t query[C::kSteps][4];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int row = warp * 16 + g + 8 * r;
    n_visible[r] = row < rows_here ? args.step.positions[row0 + row] + 1 : 0;
    const float* from = args.q(row0 + (row < rows_here ? row : 0), head);
#pragma unroll
    for (int step = 0; step < C::kSteps; step++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const int channel = step / 2 * 32 + 8 * q + step % 2 * 4 + 2 * half;
        const float2 pair = *reinterpret_cast<const float2*>(from + channel);
        query[step][half * 2 + r] = Kv::pack(pair.x * args.scale, pair.y * args.scale);
      }
  }
  const int n_context = args.step.positions[row0 + rows_here - 1] + 1;  // positions rise within a sequence
  const int n_tiles = (n_context + kTokens - 1) / kTokens;
  float out[C::kSteps * 2][4] = {}, largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  load_tile<Kv, kHeadDim>(args, table, kv_head, 0, n_context, prefill_shared);
  for (int tile = 0; tile < n_tiles; tile++) {
    if (tile + 1 < n_tiles)
      load_tile<Kv, kHeadDim>(args, table, kv_head, tile + 1, n_context,
                              prefill_shared + (tile + 1) % 2 * C::kTileBytes);
    else
      cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    const char *k = prefill_shared + tile % 2 * C::kTileBytes, *v = k + C::kHalfBytes;
    const float* scales = reinterpret_cast<const float*>(v + C::kHalfBytes);
    float s[kTokens / 8][4] = {};
#pragma unroll
    for (int t = 0; t < kTokens / 8; t++)
#pragma unroll
      for (int run = 0; run < C::kSteps / 2; run++) {
        const uint4 piece = *reinterpret_cast<const uint4*>(k + C::offset(t * 8 + g, run * 4 + q));
        const uint32_t b[2][2] = {{piece.x, piece.y}, {piece.z, piece.w}};
        mma(s[t], query[2 * run], b[0], Operand{});
        mma(s[t], query[2 * run + 1], b[1], Operand{});
      }
    float most[2] = {largest[0], largest[1]};
#pragma unroll
    for (int t = 0; t < kTokens / 8; t++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int token = t * 8 + 2 * q + i % 2;
        if constexpr (Kv::kTokenScales)
          s[t][i] *= scales[token];
        else
          s[t][i] *= args.cache.k_scale;
        if (tile * kTokens + token >= n_visible[i / 2]) s[t][i] = -INFINITY;
        most[i / 2] = fmaxf(most[i / 2], s[t][i]);
      }
    float keep[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 1));
      most[r] = fmaxf(most[r], __shfl_xor_sync(0xffffffffu, most[r], 2));
      if (most[r] == -INFINITY) most[r] = 0;  // a row that sees nothing yet
      keep[r] = exp2f(largest[r] - most[r]);
      largest[r] = most[r];
      sum[r] *= keep[r];
    }
#pragma unroll
    for (int t = 0; t < C::kSteps * 2; t++)
#pragma unroll
      for (int i = 0; i < 4; i++) out[t][i] *= keep[i / 2];
#pragma unroll
    for (int step = 0; step < kTokens / 16; step++) {
      uint32_t weights[4];
#pragma unroll
      for (int j = 0; j < 2; j++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const int t = 2 * step + j;
          float x = exp2f(s[t][2 * r] - most[r]), y = exp2f(s[t][2 * r + 1] - most[r]);
          sum[r] += x + y;
          if constexpr (Kv::kTokenScales) {
            x *= scales[kTokens + t * 8 + 2 * q];
            y *= scales[kTokens + t * 8 + 2 * q + 1];
          }
          weights[j * 2 + r] = Kv::pack(x, y);
        }
#pragma unroll
      for (int t = 0; t < C::kSteps; t++) {
        uint32_t b[4];
        ldmatrix_trans(b, v + C::offset(step * 16 + lane / 8 % 2 * 8 + lane % 8, t * 2 + lane / 16));
        const uint32_t low[2] = {b[0], b[1]}, high[2] = {b[2], b[3]};
        mma(out[2 * t], weights, low, Operand{});
        mma(out[2 * t + 1], weights, high, Operand{});
      }
    }
    __syncthreads();
  }
  cp_async_wait<0>();
#pragma unroll
  for (int r = 0; r < 2; r++) {
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
    sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
    const int row = warp * 16 + g + 8 * r;
    if (row >= rows_here) continue;
    const float inverse = n_visible[r] > 0 ? args.cache.v_scale / sum[r] : 0.0f;
    float* to = args.out + ((row0 + row) * args.n_heads + head) * kHeadDim;
#pragma unroll
    for (int t = 0; t < C::kSteps * 2; t++)
      *reinterpret_cast<float2*>(to + t * 8 + 2 * q) =
          make_float2(out[t][2 * r] * inverse, out[t][2 * r + 1] * inverse);
  }
}

template <class Kv, int kHeadDim>
void launch(const AttentionArgs& args, cudaStream_t stream) {
  using C = Config<kHeadDim>;
  static const bool raised = [] {
    cudaFuncSetAttribute(attention_prefill_kernel<Kv, kHeadDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         C::kSharedBytes);
    return true;
  }();
  static_cast<void>(raised);
  const dim3 grid(static_cast<unsigned>(ceil_div(args.step.max_rows_per_seq, kRows)),
                  static_cast<unsigned>(args.n_heads), static_cast<unsigned>(args.step.n_seqs));
  launch_overlapped(attention_prefill_kernel<Kv, kHeadDim>, grid, kThreads, C::kSharedBytes, stream, args);
}

}  // namespace

void launch_prefill(const AttentionArgs& args, DType dtype, cudaStream_t stream) {
  with_kv(dtype, [&](auto tag) {
    using Kv = decltype(tag);
    if constexpr (sizeof(typename Kv::Element) < 4) {
      if (args.cache.head_dim == 64)
        launch<Kv, 64>(args, stream);
      else
        launch<Kv, 128>(args, stream);
    }
  });
}

}  // namespace trimeter::cuda
