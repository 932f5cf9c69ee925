// y = x w^T of 4-bit w for few tokens (kernels/gpu_rows.h: gpu_int4_takes), in integers: what a code costs on its way
// to the tensor cores decides how fast this is, and to int8 it is three instructions for eight codes, to bf16 seven.
// The input stays whole in shared memory as 16-bit integers, each in two columns of a product, with scales and sums by
// group.
//
//   x = 2^e (256 high + low),  w = (code - zero) scale
//   sum_k w x = scale 2^e (256 sum_k code high + sum_k code low - zero sum_k (256 high + low))    of each group
//
// Sums of a group are exact. 2^(e + 14) is the power of two below the group's largest value: a bf16 input is as it was
// down to 2^-7 of that one, and rounded by at most 2^-15 of it. What is not finite in a group makes all its sums NaN.
//
// A CTA has blocks of 16 * kRowTiles rows to itself, every gridDim.x-th, and its warps share a block's k's in units:
//
//   units of a CTA, block by block | 0 1 2 3 4 5 6 | 0 1 2 3 4 5 6 | ...
//   its warps, were they four      | 0 1 2 3 0 1 2 | 3 0 1 2 3 0 1 | ...
//
// A warp copies its own units through a ring of its own, ahead by kStages; one more warp adds up what the others
// leave of a block, in their order. The rings fill while the kernel before this one still runs, two stages of each
// before a raw input (raw_row.cuh): the weight is nobody's output. Traffic: weight once; the input once a CTA, from L2.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/raw_row.cuh"

namespace trimeter::cuda {

struct Int4Args {
  const char *w, *scales, *zeros, *x;
  const float* bias;
  float* y;
  int64_t ldy;
  int n, m, k;
  int n_segments;   // ceil(k / 64)
  int n_units;      // of a block of rows
  int group_shift;  // 2^group_shift runs of 32 k's share a scale; 31: all
  bool bf16_scales, accumulate;
  RawInput raw;  // if it has one, instead of x
  SiluMul silu;  // if it has one, instead of y: blocks have a tile of each half
};

// kSmallGroup: groups may be of 32 k's, else they are multiples of 128. kMaxTokens: that the input has room for.
template <bool kZeros_, bool kSmallGroup_, int kMaxTokens_>
struct Int4Config {
  static constexpr bool kZeros = kZeros_, kSmallGroup = kSmallGroup_;
  static constexpr int kMaxTokens = kMaxTokens_, kTokenTiles = (kMaxTokens + 3) / 4;
  static constexpr int kRowTiles = 2, kRows = 16 * kRowTiles;
  static constexpr int kSegments = 2;  // of 64 k's, of a unit
  static constexpr int kWarps = 15, kThreads = 32 * (kWarps + 1), kStages = kMaxTokens_ == 1 ? 4 : 3;
  static constexpr int kGroupHalves = kSmallGroup ? 1 : 4;  // runs of 32 k's between two scalings
  static constexpr int kGroups = 2 * kSegments / kGroupHalves;
  static constexpr int kTileBytes = kSegments * 512;
  static constexpr int kGroupBytes = kRows * 2 + (kZeros ? (kRowTiles + 1) / 2 * 16 : 0);
  static constexpr int kUnitBytes = kRowTiles * kTileBytes + kGroups * kGroupBytes;
  static constexpr int kRingBytes = kStages * kUnitBytes;  // of a warp
  // Of a warp, [token][row]: strides that keep a warp's accesses in different banks.
  static constexpr int kTokenStride = kRows + 4, kWarpStride = kMaxTokens * kTokenStride + 8;
  static constexpr int kSumBytes = 2 * kWarps * kWarpStride * 4;  // of two blocks: one is added up, the next multiplied
  // [segment][token][128 bytes], and sums [group][token] of f32.
  static constexpr int kSegmentBytes = kMaxTokens * 128;
  static constexpr int kBarriersAt = kWarps * kRingBytes, kSumsAt = kBarriersAt + 32,
                       kInputAt = (kSumsAt + kSumBytes + 127) / 128 * 128;

  __host__ __device__ static constexpr int input_sums_at(int n_units) {
    return kInputAt + n_units * kSegments * kSegmentBytes;
  }
  __host__ __device__ static constexpr int shared_bytes(int n_units) {
    return input_sums_at(n_units) + n_units * kGroups * kMaxTokens * 8;
  }
};

template <class C>
struct Int4Kernel {
  const Int4Args& args;
  char* shared;
  int lane, warp, g, q;
  int n_tiles;
  uint32_t ring;  // where this warp's begins
  // The unit to be copied next, and where this lane's copies of its block begin.
  int next_block, next_unit;
  const char *tiles_at[C::kRowTiles], *scales_at, *zeros_at;
  uint32_t scale_step, zero_step;  // from a unit to the next

  static constexpr int kRuns = 2 * C::kRowTiles;  // of 8 rows: 16 bytes of scales
  static_assert(kRuns * C::kGroups <= 32 && kRawStages <= C::kStages);

  __device__ Int4Kernel(const Int4Args& a, char* s) : args(a), shared(s) {
    lane = threadIdx.x % 32;
    warp = threadIdx.x / 32;
    g = lane / 4;
    q = lane % 4;
    n_tiles = (args.n + 15) / 16;
    ring = shared_address(shared) + warp * C::kRingBytes;
    const int groups = 2 * C::kSegments >> args.group_shift;  // of a unit
    scale_step = static_cast<uint32_t>(groups * n_tiles) * 32u;
    zero_step = static_cast<uint32_t>(groups * n_tiles) * 8u;
  }
  // Tiles past the end are the last one again: nobody reads what comes of them.
  __device__ void enter_block() {
    const auto tile = [&](int i) {
      return args.silu.to != nullptr ? next_block + i * (n_tiles / 2) : min(next_block * C::kRowTiles + i, n_tiles - 1);
    };
#pragma unroll
    for (int i = 0; i < C::kRowTiles; i++)
      tiles_at[i] = args.w + static_cast<int64_t>(tile(i)) * args.n_segments * 512 + lane * 16;
    const int group = lane / kRuns * C::kGroupHalves >> args.group_shift, run = lane % kRuns;
    const int64_t at = static_cast<int64_t>(group) * n_tiles + tile(run / 2);
    scales_at = args.scales + at * 32 + run % 2 * 16;
    if constexpr (C::kZeros) zeros_at = args.zeros + at * 8;
  }
  __device__ void load_next(uint32_t to) {
    if (next_block * C::kRowTiles < n_tiles) {
      const int segment = next_unit * C::kSegments;
      // Groups that are multiples of 128 fill all units.
      const auto is_there = [&](int k) { return !C::kSmallGroup || k < args.k; };
#pragma unroll
      for (int tile = 0; tile < C::kRowTiles; tile++) {
        const char* from = tiles_at[tile] + static_cast<uint32_t>(next_unit) * static_cast<uint32_t>(C::kTileBytes);
#pragma unroll
        for (int s = 0; s < C::kSegments; s++)
          copy_async16(to + tile * C::kTileBytes + s * 512 + lane * 16, from + s * 512, is_there((segment + s) * 64));
      }
      if (lane < kRuns * C::kGroups) {
        const int i = lane / kRuns, run = lane % kRuns;
        const uint32_t scales = to + C::kRowTiles * C::kTileBytes + i * C::kGroupBytes;
        const bool there = is_there(segment * 64 + i * C::kGroupHalves * 32);
        copy_async16(scales + run * 16, scales_at + static_cast<uint64_t>(next_unit * scale_step), there);
        if constexpr (C::kZeros)
          if (run % 2 == 0)
            copy_async8(scales + C::kRows * 2 + run / 2 * 8, zeros_at + static_cast<uint64_t>(next_unit * zero_step),
                        there);
      }
      next_unit += C::kWarps;
      if (next_unit >= args.n_units) next_block_of_warp();
    }
    cp_async_commit();
  }
  __device__ void next_block_of_warp() {
    while (next_unit >= args.n_units) {
      next_unit -= args.n_units;
      next_block += static_cast<int>(gridDim.x);
    }
    enter_block();
  }

  // Eight inputs of bf16, a warp's of one token side by side, as integers, with the scale and sum of each group.
  __device__ void put_piece(int token, int piece, const uint4& bits) const {
    constexpr int kLanes = C::kSmallGroup ? 4 : 16;  // whose pieces are a group's
    const uint32_t words[4] = {bits.x, bits.y, bits.z, bits.w};
    uint32_t most = 0;  // of each half, as bits, of which NaN's are the largest
#pragma unroll
    for (int i = 0; i < 4; i++) most = __vmaxu2(most, words[i] & 0x7fff7fffu);
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) most = __vmaxu2(most, __shfl_xor_sync(0xffffffffu, most, step));
    most = max(most << 16, most & 0xffff0000u);
    // An exponent that makes the largest value less than 2^15 - 128, so that its upper byte is at most 127;
    // groups below 2^-100 lose bits, below 2^-115 all of them.
    const int exponent = max(static_cast<int>((most + 0x10000u) >> 23), 27);
    const bool is_finite = most < 0x7f800000u;
    const float to_integer = is_finite ? __uint_as_float(static_cast<uint32_t>(268 - exponent) << 23) : 0.0f;
    uint32_t integers[8];  // and 128, in the lower 16 bits: the upper byte is the high limb, the lower one low + 128
#pragma unroll
    for (int i = 0; i < 8; i++) {
      constexpr float kRound = 12582912.0f + 128;  // 1.5 * 2^23
      const float x = __uint_as_float(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
      integers[i] = __float_as_uint(fmaf(x, to_integer, kRound));
    }
    uint32_t low[2], high[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
      const uint32_t first = __byte_perm(integers[2 * i], integers[2 * i + 4], 0x5140),
                     second = __byte_perm(integers[2 * i + 1], integers[2 * i + 5], 0x5140);
      low[i] = __byte_perm(first, second, 0x5410) ^ 0x80808080u;
      high[i] = __byte_perm(first, second, 0x7632);
    }
    const auto sum_of = [](const uint32_t(&limbs)[2]) {
      return __dp4a(static_cast<int>(limbs[0]), 0x01010101, __dp4a(static_cast<int>(limbs[1]), 0x01010101, 0));
    };
    int sum = 256 * sum_of(high) + sum_of(low);
#pragma unroll
    for (int step = kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (piece >= n_pieces()) return;
    char* to = shared + C::kInputAt + piece / 8 * C::kSegmentBytes + token * 128 + piece % 4 * 16 + piece / 4 % 2 * 8;
    *reinterpret_cast<uint2*>(to) = {high[0], high[1]};
    *reinterpret_cast<uint2*>(to + 64) = {low[0], low[1]};
    if (lane % kLanes == 0)
      reinterpret_cast<uint2*>(shared + C::input_sums_at(args.n_units))[piece / kLanes * C::kMaxTokens + token] = {
          is_finite ? static_cast<uint32_t>(exponent - 14) << 23 : 0x7fc00000u, static_cast<uint32_t>(sum)};
  }
  __device__ int n_pieces() const { return args.n_units * C::kSegments * 8; }
  // All of the input. Several loads of a thread are in flight at once, which wait behind those of the ring: pieces of
  // one token, or a piece of four.
  __device__ void fill_input() const {
    constexpr int kAtOnce = C::kMaxTokens == 1 ? 8 : 4, kPieces = C::kMaxTokens == 1 ? kAtOnce : 1,
                  kTokens = kAtOnce / kPieces;
    for (int token0 = 0; token0 < args.m; token0 += kTokens) {
      for (int first = 0; first < n_pieces(); first += kPieces * C::kThreads) {
        const auto piece = [&](int i) { return first + i / kTokens * C::kThreads + static_cast<int>(threadIdx.x); };
        uint4 bits[kAtOnce];
#pragma unroll
        for (int i = 0; i < kAtOnce; i++) {
          const int token = token0 + i % kTokens;
          bits[i] = token < args.m && piece(i) * 8 < args.k
                        ? __ldcg(reinterpret_cast<const uint4*>(
                              args.x + static_cast<uint32_t>(token * args.k + piece(i) * 8) * 2u))
                        : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int i = 0; i < kAtOnce; i++)
          if (token0 + i % kTokens < args.m && first + i / kTokens * C::kThreads < n_pieces())
            put_piece(token0 + i % kTokens, piece(i), bits[i]);
      }
    }
  }
  __device__ void fill_raw_input(const RawRow<C::kThreads>& row) const {
#pragma unroll
    for (int r = 0; r < row.kRounds; r++) {
      const float(&v)[8] = row.v[r];
      if (r * C::kThreads < n_pieces())
        put_piece(0, row.at(r) / 8,
                  {pack_bf16x2(v[0], v[1]), pack_bf16x2(v[2], v[3]), pack_bf16x2(v[4], v[5]), pack_bf16x2(v[6], v[7])});
    }
  }

  using Sums = float[C::kRowTiles][C::kTokenTiles][2];
  // from: the unit in the ring. inputs: this lane's place in the input's first segment, of each tile of tokens;
  // input_sums: in its scales and sums.
  __device__ void compute(uint32_t from, int unit, const uint32_t (&inputs)[C::kTokenTiles],
                          const uint32_t (&input_sums)[C::kTokenTiles], Sums& sums) const {
    const uint32_t codes = from + lane * 16, scales = from + C::kRowTiles * C::kTileBytes + g * 2;
    const uint32_t skipped = static_cast<uint32_t>(unit * (C::kSegments * C::kSegmentBytes));
    uint4 piece[C::kRowTiles], in[C::kTokenTiles];
#pragma unroll
    for (int i = 0; i < C::kGroups; i++) {
      int parts[C::kRowTiles][C::kTokenTiles][4] = {};
#pragma unroll
      for (int half = i * C::kGroupHalves; half < (i + 1) * C::kGroupHalves; half++) {
        const int s = half / 2, c = half % 2;
        if (c == 0) {
#pragma unroll
          for (int t = 0; t < C::kTokenTiles; t++) in[t] = shared_load16(inputs[t] + skipped + s * C::kSegmentBytes);
        }
#pragma unroll
        for (int tile = 0; tile < C::kRowTiles; tile++) {
          if (c == 0) piece[tile] = shared_load16(codes + tile * C::kTileBytes + s * 512);
          const uint32_t upper = c == 0 ? piece[tile].x : piece[tile].y, lower = c == 0 ? piece[tile].z : piece[tile].w;
          const uint32_t a[4] = {upper & 0x0f0f0f0fu, lower & 0x0f0f0f0fu, (upper >> 4) & 0x0f0f0f0fu,
                                 (lower >> 4) & 0x0f0f0f0fu};
#pragma unroll
          for (int t = 0; t < C::kTokenTiles; t++) {
            const uint32_t b[2] = {c == 0 ? in[t].x : in[t].z, c == 0 ? in[t].y : in[t].w};
            mma(parts[tile][t], a, b, int8_t{});
          }
        }
      }
      uint2 of_inputs[C::kTokenTiles];  // scale and sum
#pragma unroll
      for (int t = 0; t < C::kTokenTiles; t++)
        of_inputs[t] = shared_load8(input_sums[t] + (unit * C::kGroups + i) * (C::kMaxTokens * 8));
#pragma unroll
      for (int tile = 0; tile < C::kRowTiles; tile++) {
        const uint32_t group = scales + i * C::kGroupBytes;
        uint2 zeros = {8, 8};
        if constexpr (C::kZeros) {
          zeros = shared_load8(group - g * 2 + C::kRows * 2 + tile * 8);
          zeros.x = (zeros.x >> (4 * g)) & 15;
          zeros.y = (zeros.y >> (4 * g)) & 15;
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const uint32_t bits = shared_load2(group + (tile * 16 + 8 * r) * 2);
          const float scale = args.bf16_scales ? __uint_as_float(bits << 16)
                                               : __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
          const int zero = static_cast<int>(r == 0 ? zeros.x : zeros.y);
#pragma unroll
          for (int t = 0; t < C::kTokenTiles; t++) {
            const int exact =
                parts[tile][t][2 * r] * 256 + parts[tile][t][2 * r + 1] - zero * static_cast<int>(of_inputs[t].y);
            sums[tile][t][r] += static_cast<float>(exact) * (scale * __uint_as_float(of_inputs[t].x));
          }
        }
      }
    }
  }

  // Of two blocks' sums: whether they are there, whether they were read. A turn waits for its own phase.
  enum Barrier { kThere = 0, kRead = 2 };
  __device__ uint32_t barrier(Barrier what, int turn) const {
    return shared_address(shared) + C::kBarriersAt + (what + turn % 2) * 8;
  }
  __device__ void make_barriers() const {
    if (threadIdx.x != 0) return;
    for (int i = 0; i < 2; i++) {
      barrier_init(barrier(kThere, i), C::kWarps * kArrivals);
      barrier_init(barrier(kRead, i), kArrivals);
    }
  }
  // Every lane arrives: one alone would vouch for its own accesses, not for its warp's.
  static constexpr int kArrivals = 32;
  __device__ void arrive_at(Barrier what, int turn) const { barrier_arrive(barrier(what, turn)); }
  __device__ void wait_at(Barrier what, int turn) const { barrier_wait(barrier(what, turn), turn / 2 % 2); }
  __device__ float* block_sums(int turn) const {
    return reinterpret_cast<float*>(shared + C::kSumsAt) + turn % 2 * (C::kWarps * C::kWarpStride);
  }
  __device__ void leave_sums(int turn, const Sums& sums) const {
    if (turn >= 2) wait_at(kRead, turn - 2);
    float* mine = block_sums(turn) + warp * C::kWarpStride;
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++)
#pragma unroll
      for (int t = 0; t < C::kTokenTiles; t++) {
        const int token = t * 4 + q;
        if (token >= args.m) continue;
        mine[token * C::kTokenStride + tile * 16 + g] = sums[tile][t][0];
        mine[token * C::kTokenStride + tile * 16 + g + 8] = sums[tile][t][1];
      }
    arrive_at(kThere, turn);
  }
  // All warps' sums of a block, in the order of the warps; a row a lane. What they are added to is read while they are
  // made.
  __device__ void add_sums() const {
    static_assert(C::kRows == 32);
    int turn = 0, next = 0;
    for (int block = static_cast<int>(blockIdx.x); block * C::kRowTiles < n_tiles; block = next, turn++) {
      const bool is_silu = args.silu.to != nullptr;
      const int row = is_silu ? block * 16 + lane % 16 + lane / 16 * (args.n / 2) : block * C::kRows + lane;
      float* y = args.y + row;
      float before[C::kMaxTokens];
      const float bias = args.bias != nullptr && row < args.n ? args.bias[row] : 0.0f;
#pragma unroll
      for (int token = 0; token < C::kMaxTokens; token++)
        before[token] = args.accumulate && token < args.m && row < args.n ? y[token * args.ldy] : 0.0f;
      wait_at(kThere, turn);
#pragma unroll
      for (int token = 0; token < C::kMaxTokens; token++) {
        if (token >= args.m) break;
        const float* from = block_sums(turn) + token * C::kTokenStride + lane;
        float sum = 0;
#pragma unroll
        for (int w = 0; w < C::kWarps; w++) sum += from[w * C::kWarpStride];
        sum += bias;
        if (is_silu) {
          const float up = __shfl_down_sync(0xffffffffu, sum, 16);
          if (lane < 16) put_silu_mul(args.silu, static_cast<int64_t>(token) * (args.n / 2) + row, sum, up);
          continue;
        }
        if (row < args.n) y[token * args.ldy] = args.accumulate ? before[token] + sum : sum;
      }
      next = block + static_cast<int>(gridDim.x);
      if ((next + static_cast<int>(gridDim.x)) * C::kRowTiles < n_tiles) arrive_at(kRead, turn);
    }
  }

  __device__ void run() {
    let_next_start();
    next_block = static_cast<int>(blockIdx.x);
    next_unit = warp;
    make_barriers();
    const bool is_raw = C::kMaxTokens == 1 && args.raw.x != nullptr;
    const auto fill = [&]<int kBegin, int kEnd>() {
      if (warp == C::kWarps) return;
#pragma unroll
      for (int slot = kBegin; slot < kEnd; slot++) load_next(ring + slot * C::kUnitBytes);
    };
    if (warp < C::kWarps) next_block_of_warp();
    fill.template operator()<0, kRawStages>();
    if (is_raw) {
      RawRow<C::kThreads> row;
      row.read_gain(args.raw, args.k);
      wait_for_inputs();
      row.read(args.raw, args.k, *reinterpret_cast<float(*)[32]>(shared + C::kSumsAt),
               [&] { fill.template operator()<kRawStages, C::kStages>(); });
      fill_raw_input(row);
    } else {
      fill.template operator()<kRawStages, C::kStages>();
      wait_for_inputs();
      fill_input();
    }
    __syncthreads();
    if (warp == C::kWarps) return add_sums();
    // Column 2 t + l of a product is limb l of token t. What follows the last token is not its own.
    uint32_t inputs[C::kTokenTiles], input_sums[C::kTokenTiles];
#pragma unroll
    for (int t = 0; t < C::kTokenTiles; t++) {
      inputs[t] = shared_address(shared) + C::kInputAt + min(t * 4 + g / 2, args.m - 1) * 128 + g % 2 * 64 + q * 16;
      input_sums[t] = shared_address(shared) + C::input_sums_at(args.n_units) + min(t * 4 + q, args.m - 1) * 8;
    }
    const uint32_t ring_end = ring + C::kRingBytes;
    uint32_t from = ring;
    int unit = warp, turn = 0;
    for (int block = static_cast<int>(blockIdx.x); block * C::kRowTiles < n_tiles;
         block += static_cast<int>(gridDim.x), turn++) {
      Sums sums = {};
      for (; unit < args.n_units; unit += C::kWarps) {
        cp_async_wait<C::kStages - 1>();
        __syncwarp();
        compute(from, unit, inputs, input_sums, sums);
        __syncwarp();
        load_next(from);
        from = from + C::kUnitBytes == ring_end ? ring : from + C::kUnitBytes;
      }
      unit -= args.n_units;
      leave_sums(turn, sums);
    }
    cp_async_wait<0>();
  }
};

template <class C>
__global__ void __launch_bounds__(C::kThreads) int4_matmul_kernel(const __grid_constant__ Int4Args args) {
  extern __shared__ __align__(128) char int4_shared[];
  Int4Kernel<C>(args, int4_shared).run();
}

}  // namespace trimeter::cuda
