// y = x w^T for few tokens. The weight passes once from memory through a ring of cp.async stages into the A operand of
// tensor-core products (its rows are the 16 rows of a tile); tokens are the 8 columns.
//
// A CTA has 8 warps: kRowWarps of 16 * kRowTiles rows each, and kDepthWarps that share the k's of a stage. A stage
// is one unit of work: the CTA's rows by kStageSegments segments of k; a segment is 128 bytes of an input row. The k's
// of a fragment are whichever lie together in memory, the same ones in both operands, so that 16 bytes of a row are a
// lane's.
//
//   units, row block by row block     | 0 1 2 3 4 5 | 6 7 8 9 10 11 | ...
//   CTAs, an equal share each         | 0 0 0 0 1 1 | 1 1 2 2 2  2  | ...        (stream-K, arXiv:2301.03598)
//   whole row blocks (kDeep, if many) | 0 0 0 0 0 0 | 1 1 1 1 1  1  | ...
//
// CTAs that share a row block leave their sums in the workspace; the last to arrive adds them in order of k, so that
// the result depends on the shapes and the number of multiprocessors alone. The ring fills while the kernel before this
// one still runs, two stages of it before a raw input (raw_row.cuh): the weight is nobody's output. Traffic: weight
// once; the input n / (rows of a CTA) times, from L2.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/stream_config.cuh"
#include "kernels/cuda/stream_ring.cuh"

namespace trimeter::cuda {

template <class C>
struct StreamKernel : StreamRing<C> {
  using Ring = StreamRing<C>;
  using Ring::args, Ring::shared, Ring::lane, Ring::warp, Ring::g, Ring::q, Ring::row_warp, Ring::depth;
  using Ring::next_row_block, Ring::next_stage, Ring::units_to_load;
  using Ring::Ring;
  using Ring::stage, Ring::warp_row, Ring::tile_row, Ring::kMakesSilu, Ring::input_offset, Ring::weight_offset,
      Ring::depth_sums, Ring::resident_input;
  using Sum = typename C::Sum;
  using Operand = typename C::Operand;
  using Sums = Sum[C::kRowTiles][C::kTokenTiles][4];

  // Half c of segment s of a stage: the A fragments of a tile of rows.
  __device__ void weight_fragments(const char* from, int s, int c, const uint32_t (&zeros)[2],
                                   uint32_t (&a)[C::kSteps][4]) const {
    if constexpr (C::kNibbles) {
      const uint4 piece = *reinterpret_cast<const uint4*>(from + s * 512 + lane * 16);
      const uint32_t rows[2] = {c == 0 ? piece.x : piece.y, c == 0 ? piece.z : piece.w};
#pragma unroll
      for (int p = 0; p < 4; p++)
#pragma unroll
        for (int r = 0; r < 2; r++)
          a[p / 2][(p % 2) * 2 + r] =
              C::kOffset ? int4_pair_plus_128(rows[r], p) : int4_pair_to_bf16(rows[r], p, zeros[r]);
    } else if constexpr (C::kPieces == 2) {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const uint4 piece = *reinterpret_cast<const uint4*>(from + weight_offset(g + 8 * r, s * 4 + q));
        const uint32_t words[2] = {c == 0 ? piece.x : piece.z, c == 0 ? piece.y : piece.w};
#pragma unroll
        for (int i = 0; i < 2; i++) {
          if constexpr (C::kWeights == Weights::kI8Wide)
            int8x4_to_bf16(words[i], a[i][r], a[i][2 + r]);
          else
            e4m3x4_to_bf16(words[i], a[i][r], a[i][2 + r]);
        }
      }
    } else {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const uint4 piece = *reinterpret_cast<const uint4*>(from + weight_offset(g + 8 * r, s * 8 + c * 4 + q));
        const uint32_t words[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
          if constexpr (C::kWeights == Weights::kE4M3)
            e4m3x4_to_f16(words[i], a[i][r], a[i][2 + r]);
          else
            a[i / 2][(i % 2) * 2 + r] = words[i];
        }
      }
    }
  }
  template <int kTiles>
  __device__ void input_fragments(const char* from, int first, int c, uint32_t (&b)[kTiles][C::kSteps][2]) const {
#pragma unroll
    for (int t = 0; t < kTiles; t++) {
      const int token = C::kResident ? 0 : (first + t) * 8 + g;  // all columns are the one token
      const uint4 piece = *reinterpret_cast<const uint4*>(from + input_offset(token, c * 4 + q));
      const uint32_t words[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
      for (int i = 0; i < 4; i++) {
        if constexpr (C::kWeights == Weights::kE4M3)
          e4m3x4_to_f16(words[i], b[t][i][0], b[t][i][1]);
        else
          b[t][i / 2][i % 2] = words[i];
      }
    }
  }

  // Scales and zero points (as int4_pair_to_bf16 wants them) of a group, of rows g and g + 8 of each tile.
  struct Group {
    float scales[C::kRowTiles][2];
    uint32_t pairs[C::kRowTiles][2];  // of scales, bf16
    uint32_t zeros[C::kRowTiles][2];
  };
  __device__ Group read_group(const char* from) const {
    Group group;
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int row = (row_warp * C::kRowTiles + tile) * 16 + g + 8 * r;
        const uint16_t bits = *reinterpret_cast<const uint16_t*>(from + row * 2);
        group.scales[tile][r] = args.bf16_scales ? __uint_as_float(static_cast<uint32_t>(bits) << 16)
                                                 : __half2float(__ushort_as_half(bits));
        if constexpr (C::kScaledCodes) group.pairs[tile][r] = pack_bf16x2(group.scales[tile][r], group.scales[tile][r]);
        group.zeros[tile][r] = 0x43084308u;
        if constexpr (C::kZeros) {
          const uint32_t pair = static_cast<uint8_t>(from[C::kRows * 2 + row / 2]);
          group.zeros[tile][r] = 0x43004300u | (((pair >> (4 * (g & 1))) & 15) * 0x10001u);
        }
      }
    return group;
  }
  using Parts = float[C::kRowTiles][C::kTokenTiles][4];
  // input_sums [2 q, 2 q + 1]: of the tokens' inputs in the group, with kOffset.
  __device__ void add_scaled(const Group& group, Parts& parts, const float (&input_sums)[4], Sums& sums) const {
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++)
#pragma unroll
      for (int t = 0; t < C::kTokenTiles; t++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          float part = parts[tile][t][i];
          if constexpr (C::kOffset) part -= __uint_as_float(group.zeros[tile][i / 2] << 16) * input_sums[i % 2];
          sums[tile][t][i] += part * group.scales[tile][i / 2];
        }
  }

  // Half c of segment s of a stage, added to `sums`.
  template <class AnySums>
  __device__ void multiply_half(const char* from, int unit_stage, int s, int c, const Group& group, AnySums& sums,
                                float (&input_sums)[4]) const {
    const int segment = depth * C::kSegments + s;  // of the stage
    const char* input = C::kResident ? resident_input(unit_stage * C::kStageSegments + segment)
                                     : from + C::kWeightBytes + segment * C::kTokens * 128;
    const char* warp_from = from + warp * (C::kRowTiles * C::kTileBytes);
    uint32_t a[C::kRowTiles][C::kSteps][4];
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++) {
      weight_fragments(warp_from + tile * C::kTileBytes, s, c, group.zeros[tile], a[tile]);
      if constexpr (C::kScaledCodes) {
#pragma unroll
        for (int step = 0; step < C::kSteps; step++)
#pragma unroll
          for (int i = 0; i < 4; i++) a[tile][step][i] = mul_bf16x2(a[tile][step][i], group.pairs[tile][i % 2]);
      }
    }
    constexpr int kAtOnce = C::kTokenTiles < 4 ? C::kTokenTiles : 4;  // what registers hold
#pragma unroll
    for (int first = 0; first < C::kTokenTiles; first += kAtOnce) {
      uint32_t b[kAtOnce][C::kSteps][2];
      input_fragments(input, first, c, b);
      if constexpr (C::kOffset) {
        constexpr uint32_t kOnes[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u};
#pragma unroll
        for (int step = 0; step < C::kSteps; step++) mma(input_sums, kOnes, b[0][step], Operand{});
      }
#pragma unroll
      for (int tile = 0; tile < C::kRowTiles; tile++)
#pragma unroll
        for (int step = 0; step < C::kSteps; step++)
#pragma unroll
          for (int t = 0; t < kAtOnce; t++) mma(sums[tile][first + t], a[tile][step], b[t][step], Operand{});
    }
  }
  __device__ void compute(int slot, [[maybe_unused]] int unit_stage, Sums& sums) const {
    const char* from = stage(slot);
    const char* scales = from + C::kWeightBytes + C::kInputBytes;
    constexpr int kHalves = 2 * C::kSegments;
    [[maybe_unused]] float unused[4];
    if constexpr (C::kByGroup) {
#pragma unroll
      for (int i = 0; i < C::kWarpGroups; i++) {
        const Group group = read_group(scales + (depth * C::kWarpGroups + i) * C::kGroupBytes);
        if constexpr (C::kScaledCodes) {
#pragma unroll
          for (int half = i * C::kGroupHalves; half < (i + 1) * C::kGroupHalves; half++)
            multiply_half(from, unit_stage, half / 2, half % 2, group, sums, unused);
          continue;
        }
        Parts parts = {};
        float input_sums[4] = {};
#pragma unroll
        for (int half = i * C::kGroupHalves; half < (i + 1) * C::kGroupHalves; half++)
          multiply_half(from, unit_stage, half / 2, half % 2, group, parts, input_sums);
        add_scaled(group, parts, input_sums, sums);
      }
    } else if constexpr (C::kScaling == Scaling::kEnd) {
#pragma unroll
      for (int half = 0; half < kHalves; half++)
        multiply_half(from, unit_stage, half / 2, half % 2, Group{}, sums, unused);
    } else {
      Parts parts = {};
#pragma unroll
      for (int half = 0; half < kHalves; half++)
        multiply_half(from, unit_stage, half / 2, half % 2, Group{}, parts, unused);
      add_block_scaled(scales + depth * C::kBlockBytes, parts, sums);
    }
  }
  __device__ void add_block_scaled(const char* scales, Parts& parts, Sums& sums) const {
    const float block = *reinterpret_cast<const float*>(scales + row_warp * C::kRowTiles / 8 * 4);
#pragma unroll
    for (int t = 0; t < C::kTokenTiles; t++) {
      float2 token = {1, 1};
      if constexpr (C::kByteInput) token = *reinterpret_cast<const float2*>(scales + 16 + (t * 8 + 2 * q) * 4);
#pragma unroll
      for (int tile = 0; tile < C::kRowTiles; tile++)
#pragma unroll
        for (int i = 0; i < 4; i++) sums[tile][t][i] += parts[tile][t][i] * (block * (i % 2 ? token.y : token.x));
    }
  }

  template <class F>
  static __device__ void each_sum(const F& f, Sums& sums) {
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++)
#pragma unroll
      for (int t = 0; t < C::kTokenTiles; t++) f(tile * C::kTokenTiles + t, sums[tile][t]);
  }
  // The first shares_left CTAs have one share more.
  __device__ int first_unit(int cta) const {
    return (cta * args.shares_of_cta + min(cta, args.shares_left)) * args.share;
  }
  __device__ int cta_of(int unit) const {
    const int share = unit / args.share, longer = args.shares_left * (args.shares_of_cta + 1);
    return share < longer ? share / (args.shares_of_cta + 1) : args.shares_left + (share - longer) / args.shares_of_cta;
  }
  // A CTA has room for two row blocks that it does not finish alone: its first and its last.
  __device__ Sum* partial(int cta, int row_block) const {
    const bool first = first_unit(cta) >= row_block * args.stages_per_row;
    return reinterpret_cast<Sum*>(args.partials) + (static_cast<int64_t>(cta) * 2 + !first) * C::kPartialFloats;
  }

  // Adds the sums of all depths into those of depth `adder`, by way of shared memory behind the ring. turn: of the
  // CTA's row blocks.
  __device__ void reduce_depths(Sums& sums, int adder, int turn) const {
    constexpr int kTiles = C::kRowTiles * C::kTokenTiles, kStride = C::kRowWarps * kTiles * 128;
    constexpr int kBuffers = C::kResident ? 2 : 1;
    static_assert(kBuffers * (C::kDepthWarps - 1) * kStride * 4 == C::kDepthBytes);
    Sum* lane_at = reinterpret_cast<Sum*>(depth_sums()) + turn % kBuffers * (C::kDepthWarps - 1) * kStride +
                   row_warp * kTiles * 128 + lane * 4;
    if (depth != adder)
      each_sum(
          [&](int i, Sum(&v)[4]) {
            *reinterpret_cast<int4*>(lane_at + (depth - (depth > adder)) * kStride + i * 128) =
                *reinterpret_cast<const int4*>(v);
          },
          sums);
    // Until the next write to the same place there is another: that of the next unit or, of two buffers, row block.
    __syncthreads();
    if (depth != adder) return;
    each_sum(
        [&](int i, Sum(&v)[4]) {
#pragma unroll
          for (int d = 0; d < C::kDepthWarps - 1; d++) {
            const int4 bits = *reinterpret_cast<const int4*>(lane_at + d * kStride + i * 128);
            const Sum* other = reinterpret_cast<const Sum*>(&bits);
#pragma unroll
            for (int e = 0; e < 4; e++) v[e] += other[e];
          }
        },
        sums);
  }

  // What is added to a row block's sums or multiplied with them, of the rows and tokens of this lane. It is read when
  // the row block is begun: at its end nothing would hide how long that takes. With many tokens there are no registers
  // for it. Nor are they spent on 9 to 16 of 4 bits and on groups of other kinds, which are faster so.
  static constexpr bool kEarly = C::kDeep && (C::kScaling == Scaling::kEnd || C::kResident ||
                                              (C::kNibbles && C::kScaling == Scaling::kGroup && C::kTokenTiles == 1));
  struct RowEnd {
    float bias[C::kRowTiles][2], scale[C::kRowTiles][2], before[C::kRowTiles][C::kTokenTiles][4];
  };
  template <class F>
  __device__ void each_row(int row_block, const F& f) const {
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int row = tile_row(warp_row(row_block, tile), g + 8 * r);
        if (row < args.n) f(tile, r, row);
      }
  }
  template <class F>
  __device__ void each_token(const F& f) const {
#pragma unroll
    for (int t = 0; t < C::kTokenTiles; t++)
#pragma unroll
      for (int e = 0; e < 2; e++)
        if (const int token = t * 8 + 2 * q + e; token < args.m) f(t, e, token);
  }
  __device__ float bias_of(int row) const { return args.bias != nullptr ? args.bias[row] : 0.0f; }
  __device__ float scale_of(int row) const {
    if (C::kScaling != Scaling::kEnd || args.w_scales == nullptr) return 1;
    return reinterpret_cast<const float*>(args.w_scales)[args.per_row ? row : 0];
  }
  __device__ float scale_of_token(int token) const {
    if (C::kScaling != Scaling::kEnd || !C::kByteInput) return 1;
    return args.x_scales != nullptr ? args.x_scales[token] : this->x_scale;
  }
  // What no kernel has made, and what one has.
  __device__ void read_constants(int row_block, RowEnd& end) const {
    each_row(row_block, [&](int tile, int r, int row) {
      end.bias[tile][r] = bias_of(row);
      end.scale[tile][r] = scale_of(row);
    });
  }
  __device__ void read_before(int row_block, RowEnd& end) const {
    each_row(row_block, [&](int tile, int r, int row) {
      each_token([&](int t, int e, int token) {
        end.before[tile][t][2 * r + e] = args.accumulate ? args.y[token * args.ldy + row] : 0.0f;
      });
    });
  }
  using TokenScales = float[C::kTokenTiles][2];
  // kMakesSilu: of one token, which is column 0; rows g and g + 8 are a gate and its up.
  __device__ void write_silu(int row_block, const Sums& sums, const RowEnd& end,
                             const TokenScales& token_scales) const {
    if (q != 0) return;
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++) {
      float of[2];
#pragma unroll
      for (int r = 0; r < 2; r++)
        of[r] =
            token_scales[0][0] * (end.scale[tile][r] * static_cast<float>(sums[tile][0][2 * r])) + end.bias[tile][r];
      const int at = tile_row(warp_row(row_block, tile), g);
      if (at < args.n / 2) put_silu_mul(args.silu, at, of[0], of[1]);
    }
  }
  __device__ void write(int row_block, const Sums& sums, const RowEnd& end, const TokenScales& token_scales) const {
    if constexpr (kMakesSilu)
      if (args.silu.to != nullptr) return write_silu(row_block, sums, end, token_scales);
    each_row(row_block, [&](int tile, int r, int row) {
      const float bias = kEarly ? end.bias[tile][r] : bias_of(row), scale = kEarly ? end.scale[tile][r] : scale_of(row);
      each_token([&](int t, int e, int token) {
        float* to = args.y + token * args.ldy + row;
        const float value = (kEarly ? token_scales[t][e] : scale_of_token(token)) *
                                (scale * static_cast<float>(sums[tile][t][2 * r + e])) +
                            bias;
        *to = args.accumulate ? (kEarly ? end.before[tile][t][2 * r + e] : *to) + value : value;
      });
    });
  }

  // Called by the whole CTA with the finished sums of its share of a row block, the turn-th; is_whole: it has all of
  // it.
  __device__ void finish(int row_block, int turn, bool is_whole, Sums& sums, const RowEnd& end,
                         const TokenScales& token_scales) const {
    if constexpr (C::kDeep) {
      reduce_depths(sums, adder_of(turn), turn);
      if (depth != adder_of(turn) || !(is_whole || sum_warps_partials(row_block, sums))) return;
    } else {
      if (!is_whole && !sum_partials(row_block, sums)) return;
    }
    write(row_block, sums, end, token_scales);
  }
  // The others go on meanwhile, so that each has its turn.
  static __device__ int adder_of(int turn) { return C::kResident ? turn % C::kDepthWarps : 0; }
  // The CTAs that share a row block.
  __device__ int first_cta(int row_block) const { return cta_of(row_block * args.stages_per_row); }
  __device__ int last_cta(int row_block) const { return cta_of((row_block + 1) * args.stages_per_row - 1); }
  __device__ void leave_partial(int row_block, int lane_at, Sums& sums) const {
    Sum* mine = partial(blockIdx.x, row_block) + lane_at;
    each_sum([&](int i, Sum(&v)[4]) { *reinterpret_cast<int4*>(mine + i * 128) = *reinterpret_cast<const int4*>(v); },
             sums);
    __threadfence();
  }
  __device__ void add_partials(int row_block, int lane_at, int first, int last, Sums& sums) const {
    each_sum([&](int, Sum(&v)[4]) { v[0] = v[1] = v[2] = v[3] = 0; }, sums);
#pragma unroll 4
    for (int cta = first; cta <= last; cta++) {
      const Sum* from = partial(cta, row_block) + lane_at;
      each_sum(
          [&](int i, Sum(&v)[4]) {
            const int4 bits = __ldcg(reinterpret_cast<const int4*>(from + i * 128));
            const Sum* other = reinterpret_cast<const Sum*>(&bits);
#pragma unroll
            for (int e = 0; e < 4; e++) v[e] += other[e];
          },
          sums);
    }
  }
  // Leaves this CTA's sums; true, with all of them added, for the last CTA to come.
  __device__ bool sum_partials(int row_block, Sums& sums) const {
    __shared__ bool is_last;
    const int first = first_cta(row_block), last = last_cta(row_block);
    const int lane_at = (warp * C::kRowTiles * C::kTokenTiles * 32 + lane) * 4;
    leave_partial(row_block, lane_at, sums);
    __syncthreads();
    if (threadIdx.x == 0) {
      is_last = atomicAdd(args.counters + row_block, 1u) == static_cast<unsigned>(last - first);
      if (is_last) args.counters[row_block] = 0;
      __threadfence();
    }
    __syncthreads();
    if (!is_last) return false;
    add_partials(row_block, lane_at, first, last, sums);
    return true;
  }
  // The same of the one warp that has its rows' sums of all depths.
  __device__ bool sum_warps_partials(int row_block, Sums& sums) const {
    const int first = first_cta(row_block), last = last_cta(row_block);
    const int lane_at = (row_warp * C::kRowTiles * C::kTokenTiles * 32 + lane) * 4;
    leave_partial(row_block, lane_at, sums);
    __syncwarp();
    unsigned* counter = args.counters + row_block * C::kRowWarps + row_warp;
    const unsigned others = static_cast<unsigned>(last - first);
    unsigned arrived = lane == 0 ? atomicAdd(counter, 1u) : 0;
    arrived = __shfl_sync(0xffffffffu, arrived, 0);
    if (arrived != others) return false;
    if (lane == 0) *counter = 0;
    __threadfence();
    add_partials(row_block, lane_at, first, last, sums);
    return true;
  }

  __device__ void wait_for_oldest() const {
    // The oldest of n_stages - 1.
    if (args.n_stages >= 6) {
      switch (args.n_stages) {
        case 6:
          return cp_async_wait<4>();
        case 7:
          return cp_async_wait<5>();
        case 8:
          return cp_async_wait<6>();
        case 9:
          return cp_async_wait<7>();
        default:
          return cp_async_wait<8>();
      }
    }
    switch (args.n_stages) {
      case 2:
        return cp_async_wait<0>();
      case 3:
        return cp_async_wait<1>();
      case 4:
        return cp_async_wait<2>();
      default:
        return cp_async_wait<3>();
    }
  }
  __device__ void run() {
    let_next_start();
    const int begin = first_unit(blockIdx.x), end = first_unit(blockIdx.x + 1);
    units_to_load = end - begin;
    next_row_block = begin / args.stages_per_row;
    next_stage = begin % args.stages_per_row;
    this->enter_row_block();
    const int first_row_block = next_row_block;
    int row_block = next_row_block, left = args.stages_per_row - next_stage, slot = 0;
    Sums sums = {};
    RowEnd row_end = {};
    TokenScales token_scales = {};
    const bool is_first_adder = kEarly && depth == adder_of(0);
    const auto read_token_scales = [&] {
      if constexpr (kEarly) each_token([&](int t, int e, int token) { token_scales[t][e] = scale_of_token(token); });
    };
    if (is_first_adder) read_constants(row_block, row_end);
    this->fill_ring([&] {
      if (is_first_adder) read_before(row_block, row_end);
      if (args.raw.x == nullptr) read_token_scales();
    });
    if (args.raw.x != nullptr) read_token_scales();
    for (int unit = begin; unit < end; unit++) {
      wait_for_oldest();
      if constexpr (C::kResident)
        __syncwarp();
      else
        __syncthreads();
      this->load_next(slot == 0 ? args.n_stages - 1 : slot - 1);
      if (this->has_segments(args.stages_per_row - left)) compute(slot, args.stages_per_row - left, sums);
      slot = slot + 1 == args.n_stages ? 0 : slot + 1;
      if (--left == 0 || unit + 1 == end) {
        const bool is_whole = left == 0 && row_block * args.stages_per_row >= begin;
        const int turn = row_block - first_row_block;
        finish(row_block, turn, is_whole, sums, row_end, token_scales);
        row_block++;
        if constexpr (kEarly)
          if (unit + 1 < end && depth == adder_of(turn + 1)) {
            read_constants(row_block, row_end);
            read_before(row_block, row_end);
          }
        each_sum([&](int, Sum(&v)[4]) { v[0] = v[1] = v[2] = v[3] = 0; }, sums);
        left = args.stages_per_row;
      }
    }
    cp_async_wait<0>();
  }
};

template <class C>
__global__ void __launch_bounds__(C::kThreads, C::kCtasOfSm)
    stream_matmul_kernel(const __grid_constant__ StreamArgs args) {
  extern __shared__ __align__(128) char stream_shared[];
  StreamKernel<C>(args, stream_shared).run();
}

}  // namespace trimeter::cuda
