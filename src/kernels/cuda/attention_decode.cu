// Attention of one row of a sequence over its whole context. A CTA has eight query heads at most of one KV head and one
// split of the context; a warp walks its tiles of 16 or 32 tokens, each copied once into the warp's own ring in shared
// memory. For each 16 of them:
//   scores^T [16 tokens, 8 heads] = K [16, head_dim] q^T,  out^T [head_dim, 8 heads] += V^T [head_dim, 16] weights^T
// q and the weights are multiplied as two 16-bit floats each, their rounding and what it lost, so that only the cache's
// own rounding shows. The last split to be done merges them all, in order. Traffic: the cache once for every eight
// heads of a group.
//
// In a step of decoding the kernel is rope, too: the ring fills while the kernel that makes q, k and v still runs, q is
// rotated by way of shared memory, and the CTA whose split ends with the new token writes its k and v to the cache and
// into its tile.
#include <cmath>

#include "kernels/cuda/attention_args.cuh"
#include "kernels/cuda/launch.h"

namespace trimeter::cuda {
namespace {

constexpr int kWarps = 4, kHeads = kDecodeHeads, kRun = 16;
constexpr int kRingBytes = 24 << 10;  // of a warp: two CTAs fit a multiprocessor

template <class Kv, int kHeadDim>
struct Config {
  static constexpr int kElementBytes = sizeof(typename Kv::Element);
  static constexpr int kRuns = 2 / kElementBytes, kTile = kRun * kRuns;  // of a tile; tokens
  static constexpr int kRowBytes = kHeadDim * kElementBytes, kRowPieces = kRowBytes / 16;
  static constexpr int kHalfBytes = kTile * kRowBytes;
  static constexpr int kScaleBytes = Kv::kTokenScales ? kTile * 2 : 0;  // of K, and as many of V
  static constexpr int kTileBytes = 2 * (kHalfBytes + kScaleBytes);
  static constexpr int kStages = kRingBytes / (2 * kHalfBytes) < 5 ? kRingBytes / (2 * kHalfBytes) : 5;
  static constexpr int kNewAt = kWarps * kStages * kTileBytes;  // K, V and, if they have any, scales of the new token
  static constexpr int kSharedBytes = kNewAt + 2 * kRowBytes + (Kv::kTokenScales ? 16 : 0);
  static constexpr int kSteps = kHeadDim / 16, kPairs = kHeadDim / 64;
  static constexpr int kQueryStride = kHeadDim + 2;  // floats: a half warp's pairs fall into different banks
  static_assert(kHeads * kQueryStride * 4 <= kTileBytes);
};

__device__ __forceinline__ uint32_t transpose8x8(uint32_t pair) {
  uint32_t out;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(out) : "r"(pair));
  return out;
}
__device__ __forceinline__ void ldmatrix_trans(uint32_t (&out)[4], const void* shared) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(shared_address(shared))
               : "memory");
}
// low + high of 16-bit floats: `high` is what `low` lost.
template <class Kv>
__device__ __forceinline__ void split_pair(float x, float y, uint32_t& main, uint32_t& rest) {
  using T = typename Kv::Operand;
  const T x_main = T(x), y_main = T(y);
  main = Kv::pack(x, y);
  rest = Kv::pack(x - float(x_main), y - float(y_main));
}

template <class Kv, int kHeadDim>
struct Warp {
  using C = Config<Kv, kHeadDim>;
  using Operand = typename Kv::Operand;

  const AttentionArgs& args;
  char* ring;
  int kv_head, lane, g, q, n_cached;

  // Tokens' pieces lie so that the rows which one instruction reads fall into different banks.
  static __device__ int offset(int token, int piece) {
    const int swizzle = ((token ^ (token >> 1)) & 1) << 2 | ((token >> 2) & 1) << 1 | ((token >> 1) & 1);
    return token * C::kRowBytes + ((piece ^ (swizzle & (C::kRowPieces - 1))) << 4);
  }

  // blocks[r]: where run r of the tile lies.
  __device__ void load(char* to, const int (&blocks)[C::kRuns], int tile) const {
#pragma unroll
    for (int run = 0; run < C::kRuns; run++) {
      const int position = tile * C::kTile + run * kRun, slot = position % args.cache.block_size;
      const char *k = args.cache.k(blocks[run], kv_head), *v = k + args.cache.half_bytes;
#pragma unroll
      for (int i = 0; i < kRun * C::kRowBytes / 512; i++) {
        const int at = i * 32 + lane, token = at / C::kRowPieces, piece = at % C::kRowPieces;
        // What no one wrote may be NaN, which a weight of 0 does not silence.
        const int bytes = position + token < n_cached ? 16 : 0;
        char* piece_to = to + offset(run * kRun + token, piece);
        cp_async16(piece_to, k + slot * C::kRowBytes + at * 16, bytes);
        cp_async16(piece_to + C::kHalfBytes, v + slot * C::kRowBytes + at * 16, bytes);
      }
      if (Kv::kTokenScales && lane < 4) {
        const char* from = (lane < 2 ? k : v) + args.cache.scales_at + slot * 2 + lane % 2 * 16;
        cp_async16(to + 2 * C::kHalfBytes + lane / 2 * C::kScaleBytes + run * 32 + lane % 2 * 16, from);
      }
    }
  }

  // The B fragments of q: head g, and the channels that a lane's pieces of K hold.
  __device__ void load_query(const float* q_head, bool any, uint32_t (&main)[C::kSteps][2],
                             uint32_t (&rest)[C::kSteps][2]) const {
#pragma unroll
    for (int step = 0; step < C::kSteps; step++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int channel = C::kElementBytes == 2 ? step / 2 * 32 + 8 * q + step % 2 * 4 + 2 * r
                                                  : step / 4 * 64 + 16 * q + step % 4 * 4 + 2 * r;
        const float2 pair = any ? *reinterpret_cast<const float2*>(q_head + channel) : make_float2(0, 0);
        split_pair<Kv>(pair.x * args.scale, pair.y * args.scale, main[step][r], rest[step][r]);
      }
  }

  __device__ void scores(const char* k, int first_token, const uint32_t (&main)[C::kSteps][2],
                         const uint32_t (&rest)[C::kSteps][2], float (&s)[4]) const {
    // Of products that wait for each other half as many.
    float parts[2][4] = {}, low[2][4] = {};
#pragma unroll
    for (int run = 0; run < C::kRowBytes / 64; run++) {
      const uint4 top = *reinterpret_cast<const uint4*>(k + offset(first_token + g, run * 4 + q));
      const uint4 bottom = *reinterpret_cast<const uint4*>(k + offset(first_token + g + 8, run * 4 + q));
      const uint32_t words[2][4] = {{top.x, top.y, top.z, top.w}, {bottom.x, bottom.y, bottom.z, bottom.w}};
      if constexpr (C::kElementBytes == 2) {
#pragma unroll
        for (int j = 0; j < 2; j++) {
          const uint32_t a[4] = {words[0][2 * j], words[1][2 * j], words[0][2 * j + 1], words[1][2 * j + 1]};
          mma(parts[j], a, main[run * 2 + j], Operand{});
          mma(low[j], a, rest[run * 2 + j], Operand{});
        }
      } else {
#pragma unroll
        for (int j = 0; j < 4; j++) {
          uint32_t a[4];
          Kv::widen4(words[0][j], a[0], a[2]);
          Kv::widen4(words[1][j], a[1], a[3]);
          mma(parts[j % 2], a, main[run * 4 + j], Operand{});
          mma(low[j % 2], a, rest[run * 4 + j], Operand{});
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) s[i] = (parts[0][i] + parts[1][i]) + (low[0][i] + low[1][i]);
  }

  // Adds V^T weights^T. Row g (and g + 8) of tile t of `out` is channel channel_of(t, g) (and + 1 or + 8).
  __device__ void add_values(const char* v, int first_token, const uint32_t (&main)[2], const uint32_t (&rest)[2],
                             float (&out)[C::kSteps][4]) const {
    if constexpr (C::kElementBytes == 2) {
#pragma unroll
      for (int t = 0; t < C::kSteps; t++) {
        uint32_t a[4];
        ldmatrix_trans(a, v + offset(first_token + lane / 16 * 8 + lane % 8, t * 2 + lane / 8 % 2));
        mma(out[t], a, main, Operand{});
        mma(out[t], a, rest, Operand{});
      }
    } else {
#pragma unroll
      for (int run = 0; run < kHeadDim / 32; run++) {
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
          words[i] = *reinterpret_cast<const uint32_t*>(
              v + offset(first_token + 2 * q + i / 2 * 8 + i % 2, run * 2 + g / 4) + g % 4 * 4);
        uint32_t a[2][4];
#pragma unroll
        for (int half = 0; half < 2; half++) {  // tokens 2 q, 2 q + 1 and 2 q + 8, 2 q + 9
          Kv::widen4(__byte_perm(words[2 * half], words[2 * half + 1], 0x5140), a[0][2 * half], a[0][2 * half + 1]);
          Kv::widen4(__byte_perm(words[2 * half], words[2 * half + 1], 0x7362), a[1][2 * half], a[1][2 * half + 1]);
        }
#pragma unroll
        for (int t = 0; t < 2; t++) {
          mma(out[run * 2 + t], a[t], main, Operand{});
          mma(out[run * 2 + t], a[t], rest, Operand{});
        }
      }
    }
  }
  __device__ int channel_of(int t, int high) const {
    return C::kElementBytes == 2 ? t * 16 + g + 8 * high : t / 2 * 32 + 4 * g + t % 2 * 2 + high;
  }
};

template <class C>
__device__ __forceinline__ int tiles_of_split(int n_tiles, int n_splits) {
  return max(static_cast<int>(kGpuLeastSplitTokens) / C::kTile, (n_tiles + n_splits - 1) / n_splits);
}

// Heads of the new token by warp: q's, rotated, to `queries`; with_kv: K and V to the cache and to `fresh`, K's row,
// V's row, their scales.
template <class Kv, int kHeadDim>
struct NewToken {
  using C = Config<Kv, kHeadDim>;
  static constexpr int kMost = (kHeads + 2 + kWarps - 1) / kWarps;  // heads of a warp

  const AttentionArgs& args;
  int64_t row;
  int position, first_head, n_heads, kv_head, lane, warp;
  float cosines[C::kPairs], sines[C::kPairs];
  int64_t block;  // of the cache, that the token is written to

  // Of what is known before q, k and v are there.
  __device__ void load_early(const int32_t* table) {
    block = table[max(position, 0) / args.cache.block_size];
#pragma unroll
    for (int j = 0; j < C::kPairs; j++) {
      const int64_t at = static_cast<int64_t>(max(position, 0)) * (kHeadDim / 2) + lane + 32 * j;
      cosines[j] = args.cos[at];
      sines[j] = args.sin[at];
    }
  }
  __device__ void rotate(float* queries, char* fresh, bool with_kv) const {
    const int n = n_heads + (with_kv ? 2 : 0);
    float low[kMost][C::kPairs], high[kMost][C::kPairs];
#pragma unroll
    for (int h = 0; h < kMost; h++) {
      const int item = min(warp + h * kWarps, n - 1);
      const int head = item < n_heads    ? first_head + item
                       : item == n_heads ? args.n_heads + kv_head
                                         : args.n_heads + args.cache.n_kv_heads + kv_head;
      const float* x = args.q(row, head);
#pragma unroll
      for (int j = 0; j < C::kPairs; j++) {
        low[h][j] = x[lane + 32 * j];
        high[h][j] = x[lane + 32 * j + kHeadDim / 2];
      }
    }
#pragma unroll
    for (int h = 0; h < kMost; h++) {
      const int item = warp + h * kWarps;
      if (item >= n) return;
      if (item <= n_heads) {
#pragma unroll
        for (int j = 0; j < C::kPairs; j++) {
          const float rotated = low[h][j] * cosines[j] - high[h][j] * sines[j];
          high[h][j] = high[h][j] * cosines[j] + low[h][j] * sines[j];
          low[h][j] = rotated;
        }
      }
      if (item >= n_heads) {
        write(low[h], high[h], item > n_heads, fresh);
        continue;
      }
#pragma unroll
      for (int j = 0; j < C::kPairs; j++) {
        queries[item * C::kQueryStride + lane + 32 * j] = low[h][j];
        queries[item * C::kQueryStride + lane + 32 * j + kHeadDim / 2] = high[h][j];
      }
    }
  }
  __device__ void write(const float (&low)[C::kPairs], const float (&high)[C::kPairs], bool is_v, char* fresh) const {
    float largest = 0;
#pragma unroll
    for (int j = 0; j < C::kPairs; j++) largest = fmaxf(largest, fmaxf(fabsf(low[j]), fabsf(high[j])));
    const float scale = head_scale<Kv>(largest, is_v ? args.cache.v_scale : args.cache.k_scale);
    const int slot = position % args.cache.block_size;
    char* to = is_v ? args.cache.v(block, kv_head) : args.cache.k(block, kv_head);
    if (Kv::kTokenScales && lane == 0) {
      reinterpret_cast<__half*>(to + args.cache.scales_at)[slot] = __float2half_rn(scale);
      reinterpret_cast<__half*>(fresh + 2 * C::kRowBytes)[is_v] = __float2half_rn(scale);
    }
    auto* cached = reinterpret_cast<typename Kv::Element*>(to) + slot * kHeadDim;
    auto* kept = reinterpret_cast<typename Kv::Element*>(fresh + is_v * C::kRowBytes);
#pragma unroll
    for (int j = 0; j < C::kPairs; j++) {
      const int i = lane + 32 * j;
      cached[i] = kept[i] = Kv::narrow(low[j], scale);
      cached[i + kHeadDim / 2] = kept[i + kHeadDim / 2] = Kv::narrow(high[j], scale);
    }
  }
};

// Four channels from `at` of [n_rows, n_heads * head_dim].
__device__ __forceinline__ void make(const AttentionArgs& args, int64_t at, const float4& v) {
  if (args.form == InputForm::kF32) {
    *reinterpret_cast<float4*>(static_cast<float*>(args.made) + at) = v;
    return;
  }
  const bool is_f16 = args.form == InputForm::kF16;
  *reinterpret_cast<uint2*>(static_cast<uint16_t*>(args.made) + at) = {
      is_f16 ? pack_f16x2(v.x, v.y) : pack_bf16x2(v.x, v.y), is_f16 ? pack_f16x2(v.z, v.w) : pack_bf16x2(v.z, v.w)};
}

// All splits of a CTA's heads: a head has head_dim / 4 lanes, which read its maxima and sums together.
template <int kHeadDim>
__device__ void merge_splits(const AttentionArgs& args, int seq, int64_t row, int first_head, int n_heads, int used) {
  constexpr int kLanes = kHeadDim / 4, kRounds = kMostSplits / kLanes, kAtOnce = 32 * kWarps / kLanes;
  const int lane = static_cast<int>(threadIdx.x) % kLanes, first_lane = static_cast<int>(threadIdx.x) % 32 - lane;
  for (int first = 0; first < n_heads; first += kAtOnce) {
    const int h = first + static_cast<int>(threadIdx.x) / kLanes, head = first_head + min(h, n_heads - 1);
    const int64_t at = (static_cast<int64_t>(seq) * args.n_heads + head) * args.n_splits;
    float most_of[kRounds], keep[kRounds], most = -INFINITY, total = 0;
#pragma unroll
    for (int j = 0; j < kRounds; j++) {
      const int s = j * kLanes + lane;
      const float2 stats =
          s < used ? __ldcg(reinterpret_cast<const float2*>(args.partial_stats) + at + s) : float2{-INFINITY, 0};
      most_of[j] = stats.x;
      keep[j] = stats.y;
      most = fmaxf(most, stats.x);
    }
    for (int step = kLanes / 2; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
#pragma unroll
    for (int j = 0; j < kRounds; j++) {
      const float weight = most_of[j] == -INFINITY ? 0.0f : exp2f(most_of[j] - most);
      total += weight * keep[j];
      keep[j] = weight;
    }
    for (int step = kLanes / 2; step > 0; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
    float4 sum{};
    const float* from = args.partial_out + at * kHeadDim + lane * 4;
#pragma unroll
    for (int j = 0; j < kRounds; j++) {
      const int n = min(kLanes, used - j * kLanes);
#pragma unroll 4
      for (int l = 0; l < n; l++) {
        const float weight = __shfl_sync(0xffffffffu, keep[j], first_lane + l);
        const float4 part = __ldcg(reinterpret_cast<const float4*>(from + (j * kLanes + l) * kHeadDim));
        sum.x += weight * part.x, sum.y += weight * part.y, sum.z += weight * part.z, sum.w += weight * part.w;
      }
    }
    if (h >= n_heads) continue;
    const float scale = args.cache.v_scale / total;
    const int64_t to = (row * args.n_heads + head) * kHeadDim + lane * 4;
    make(args, to, {sum.x * scale, sum.y * scale, sum.z * scale, sum.w * scale});
  }
}

template <class Kv, int kHeadDim>
__global__ void __launch_bounds__(32 * kWarps, 2) attention_decode_kernel(const __grid_constant__ AttentionArgs args) {
  using C = Config<Kv, kHeadDim>;
  extern __shared__ __align__(128) char decode_shared[];
  const bool is_rope = args.cos != nullptr;
  if (!is_rope) {
    let_next_start();
    wait_for_inputs();
  }
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, seq = blockIdx.z, split = blockIdx.x;
  if (!is_rope && rows_of(args.step, seq) != 1) return;
  const int64_t row = is_rope ? seq : args.step.row_begin[seq];
  const int head_groups = (args.group + kHeads - 1) / kHeads;
  const int kv_head = blockIdx.y / head_groups, first = blockIdx.y % head_groups * kHeads;
  const int n_heads = min(kHeads, args.group - first), first_head = kv_head * args.group + first;
  // The blocks of the warp's next 32 runs of 16 tokens, one a lane. A context's first ones are on their way before its
  // length has come: each load that waits for another one is a good part of what a short context takes.
  const int32_t* table = args.table(is_rope ? seq : args.step.seq_of_row[row]);
  int ids_from = 0, ids = 0;
  const auto lane_position = [&] { return (ids_from + lane / C::kRuns * kWarps) * C::kTile + lane % C::kRuns * kRun; };
  const auto fetch_ids = [&](int from, int n) {
    ids_from = from;
    ids = lane_position() < n ? table[lane_position() / args.cache.block_size] : 0;
  };
  if (split == 0) fetch_ids(warp, static_cast<int>(args.step.max_context));
  const int n_context = args.step.positions[row] + 1;
  const int n_tiles = (n_context + C::kTile - 1) / C::kTile, of_split = tiles_of_split<C>(n_tiles, args.n_splits);
  const int used = max(1, (n_tiles + of_split - 1) / of_split);
  const int begin = split * of_split, end = min(begin + of_split, n_tiles);
  if (split >= used) return;

  Warp<Kv, kHeadDim> w{args,
                       decode_shared + warp * C::kStages * C::kTileBytes,
                       kv_head,
                       lane,
                       lane / 4,
                       lane % 4,
                       is_rope ? n_context - 1 : n_context};
  const int g = w.g, q = w.q;
  if (split > 0)
    fetch_ids(begin + warp, n_context);
  else if (lane_position() >= n_context)
    ids = 0;
  const auto load = [&](int slot, int tile) {
    if (tile < end) {
      if (tile - ids_from >= 32 / C::kRuns * kWarps) fetch_ids(tile, n_context);
      int blocks[C::kRuns];
#pragma unroll
      for (int run = 0; run < C::kRuns; run++)
        blocks[run] = __shfl_sync(0xffffffffu, ids, (tile - ids_from) / kWarps * C::kRuns + run);
      w.load(w.ring + slot * C::kTileBytes, blocks, tile);
    }
    cp_async_commit();
  };
  for (int s = 0; s < C::kStages - 1; s++) load(s, begin + warp + s * kWarps);

  const float* queries = args.q(row, first_head);
  int query_stride = kHeadDim;
  char* fresh = decode_shared + C::kNewAt;
  if (is_rope) {
    NewToken<Kv, kHeadDim> token{args, row, n_context - 1, first_head, n_heads, kv_head, lane, warp, {}, {}, 0};
    token.load_early(table);
    wait_for_inputs();
    // The first warp's last stage is filled after the second barrier.
    float* rotated = reinterpret_cast<float*>(decode_shared + (C::kStages - 1) * C::kTileBytes);
    token.rotate(rotated, fresh, end == n_tiles && n_context > 0);
    queries = rotated;
    query_stride = C::kQueryStride;
    __syncthreads();
    // Not before q, k and v are here: they would wait behind the weights that the next kernel then asks for.
    let_next_start();
  }
  uint32_t query[C::kSteps][2], query_rest[C::kSteps][2];
  w.load_query(queries + min(g, n_heads - 1) * query_stride, g < n_heads, query, query_rest);
  if (is_rope) __syncthreads();
  float out[C::kSteps][4] = {}, largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  int slot = 0;
  for (int tile = begin + warp; tile < end; tile += kWarps) {
    cp_async_wait<C::kStages - 2>();
    __syncwarp();
    load(slot == 0 ? C::kStages - 1 : slot - 1, tile + (C::kStages - 1) * kWarps);
    char* from = w.ring + slot * C::kTileBytes;
    if (is_rope && tile == n_tiles - 1) {
      const int token = (n_context - 1) % C::kTile;
      for (int i = lane; i < 2 * C::kRowPieces; i += 32)
        *reinterpret_cast<uint4*>(from + i / C::kRowPieces * C::kHalfBytes + w.offset(token, i % C::kRowPieces)) =
            *reinterpret_cast<const uint4*>(fresh + i * 16);
      if (Kv::kTokenScales && lane < 2)
        reinterpret_cast<__half*>(from + 2 * C::kHalfBytes)[lane * C::kTile + token] =
            reinterpret_cast<const __half*>(fresh + 2 * C::kRowBytes)[lane];
      __syncwarp();
    }
    const auto* scales = reinterpret_cast<const __half*>(from + 2 * C::kHalfBytes);
    slot = slot + 1 == C::kStages ? 0 : slot + 1;

    float s[C::kRuns][4] = {}, most[2] = {largest[0], largest[1]};  // tokens g, g + 8 by heads 2 q, 2 q + 1
#pragma unroll
    for (int run = 0; run < C::kRuns; run++) {
      w.scores(from, run * kRun, query, query_rest, s[run]);
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int token = run * kRun + g + i / 2 * 8;
        const float k_scale = Kv::kTokenScales ? __half2float(scales[token]) : args.cache.k_scale;
        s[run][i] = tile * C::kTile + token < n_context ? s[run][i] * k_scale : -INFINITY;
        most[i % 2] = fmaxf(most[i % 2], s[run][i]);
      }
    }
#pragma unroll
    for (int e = 0; e < 2; e++)
#pragma unroll
      for (int step = 4; step <= 16; step *= 2) most[e] = fmaxf(most[e], __shfl_xor_sync(0xffffffffu, most[e], step));
    if (__any_sync(0xffffffffu, most[0] != largest[0] || most[1] != largest[1])) {
      const float keep[2] = {exp2f(largest[0] - most[0]), exp2f(largest[1] - most[1])};
#pragma unroll
      for (int e = 0; e < 2; e++) largest[e] = most[e], sum[e] *= keep[e];
#pragma unroll
      for (int t = 0; t < C::kSteps; t++)
#pragma unroll
        for (int i = 0; i < 4; i++) out[t][i] *= keep[i % 2];
    }
#pragma unroll
    for (int run = 0; run < C::kRuns; run++) {
      uint32_t weights[2], weights_rest[2];
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const float first_weight = exp2f(s[run][2 * r] - most[0]), second_weight = exp2f(s[run][2 * r + 1] - most[1]);
        sum[0] += first_weight;
        sum[1] += second_weight;
        const int token = run * kRun + g + 8 * r;
        float v_scale = 1;
        if constexpr (Kv::kTokenScales)
          v_scale = tile * C::kTile + token < n_context ? __half2float(scales[C::kTile + token]) : 0.0f;
        uint32_t main, rest;
        split_pair<Kv>(first_weight * v_scale, second_weight * v_scale, main, rest);
        weights[r] = transpose8x8(main);
        weights_rest[r] = transpose8x8(rest);
      }
      w.add_values(from + C::kHalfBytes, run * kRun, weights, weights_rest, out);
    }
    __syncwarp();
  }
  cp_async_wait<0>();

  // The warps' sums meet in shared memory: [warp][head][head_dim + 2], and 2 that keep a warp's accesses in different
  // banks.
  __syncthreads();
  constexpr int kStride = kHeadDim + 4;
  float* sums = reinterpret_cast<float*>(decode_shared);
  static_assert(kWarps * kHeads * kStride * 4 <= C::kSharedBytes);
#pragma unroll
  for (int e = 0; e < 2; e++) {
#pragma unroll
    for (int step = 4; step <= 16; step *= 2) sum[e] += __shfl_xor_sync(0xffffffffu, sum[e], step);
    float* mine = sums + (warp * kHeads + 2 * q + e) * kStride;
#pragma unroll
    for (int t = 0; t < C::kSteps; t++) {
      mine[w.channel_of(t, 0)] = out[t][e];
      mine[w.channel_of(t, 1)] = out[t][2 + e];
    }
    if (g == 0) mine[kHeadDim] = largest[e], mine[kHeadDim + 1] = sum[e];
  }
  __syncthreads();
  // Lane kHeads * j + h knows what warp j's sums of head h count for.
  static_assert(kHeads * kWarps == 32);
  const float* theirs = sums + lane * kStride + kHeadDim;
  float most = theirs[0], keep = most;
#pragma unroll
  for (int step = kHeads; step < 32; step *= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
  keep = keep == -INFINITY ? 0.0f : exp2f(keep - most);
  float total = keep * theirs[1];
#pragma unroll
  for (int step = kHeads; step < 32; step *= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
  if (used == 1) keep = n_context > 0 ? keep / total * args.cache.v_scale : 0.0f;
#pragma unroll
  for (int i = 0; i < kHeads * kHeadDim; i += 4 * 32 * kWarps) {
    const int at = i + static_cast<int>(threadIdx.x) * 4, h = at / kHeadDim, channel = at % kHeadDim;
    float4 value{};
#pragma unroll
    for (int j = 0; j < kWarps; j++) {
      const float weight = __shfl_sync(0xffffffffu, keep, j * kHeads + h);
      const float4 part = *reinterpret_cast<const float4*>(sums + (j * kHeads + h) * kStride + channel);
      value.x += weight * part.x, value.y += weight * part.y, value.z += weight * part.z, value.w += weight * part.w;
    }
    if (h >= n_heads) continue;
    if (used == 1)
      make(args, (row * args.n_heads + first_head + h) * kHeadDim + channel, value);
    else
      *reinterpret_cast<float4*>(
          args.partial_out +
          ((static_cast<int64_t>(seq) * args.n_heads + first_head + h) * args.n_splits + split) * kHeadDim + channel) =
          value;
  }
  if (used > 1 && warp == 0 && lane < n_heads) {
    const int64_t at = (static_cast<int64_t>(seq) * args.n_heads + first_head + lane) * args.n_splits + split;
    args.partial_stats[2 * at] = most;
    args.partial_stats[2 * at + 1] = total;
  }
  if (used == 1) return;
  __shared__ bool is_last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    unsigned* arrived = args.arrived + static_cast<int64_t>(seq) * gridDim.y + blockIdx.y;
    is_last = atomicAdd(arrived, 1u) == static_cast<unsigned>(used - 1);
    if (is_last) *arrived = 0;
    __threadfence();
  }
  __syncthreads();
  if (is_last) merge_splits<kHeadDim>(args, seq, row, first_head, n_heads, used);
}

template <class Kv, int kHeadDim>
void launch(const AttentionArgs& args, cudaStream_t stream) {
  using C = Config<Kv, kHeadDim>;
  static const bool raised = [] {
    cudaFuncSetAttribute(attention_decode_kernel<Kv, kHeadDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         C::kSharedBytes);
    return true;
  }();
  static_cast<void>(raised);
  const dim3 grid(static_cast<unsigned>(args.n_splits),
                  static_cast<unsigned>(args.cache.n_kv_heads * ceil_div(args.group, kHeads)),
                  static_cast<unsigned>(args.step.n_seqs));
  launch_overlapped(attention_decode_kernel<Kv, kHeadDim>, grid, 32 * kWarps, C::kSharedBytes, stream, args);
}

}  // namespace

void launch_decode(const AttentionArgs& args, DType dtype, cudaStream_t stream) {
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
