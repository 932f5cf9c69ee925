// y = x w^T for 9 to 128 tokens of 4-bit weights by wgmma (compute capability 9.0): codes become bf16 in registers,
// times their scale, and are the A operand of 64 rows; tokens are the columns of B, in shared memory once for all rows.
//
// A CTA has kRows rows; a unit of its work is 128 k's of them. Each of its 8 consumer warps copies the weights of its
// own 16 * kRowTiles rows, from before the kernel ahead has ended, and waits for no other. Four producer warps bring
// the input by way of registers, where fragments' words come to lie side by side (pack.cu: a lane has eight k's in a
// row, which two steps of a product share). They meet at mbarriers, at which every lane arrives.
//
//   units, row block by row block         | 0 1 2 3 4 5 | 6 7 8 9 10 11 | ...
//   CTAs, a row block each                | 0 0 0 0 0 0 | 1 1 1 1  1  1 | ...
//   or an equal share of all              | 0 0 0 0 0 0 | 0 1 1 1  1  1 | ...     (stream-K, arXiv:2301.03598)
//   few row blocks: a cluster's CTAs each | 0 0 1 1 2 2 | 0 0 1 1  2  2 | ...
//
// Of a row block that two CTAs have, the first to come leaves its sums in the workspace, the other adds them. A
// cluster's CTAs add up a part of their row block each, out of each other's shared memory. Sums' order is that of k;
// where they are cut depends on the shapes and on the card: how many multiprocessors and clusters it runs at once.
// Traffic: weight once; the input n / kRows times, from L2. Rounding: code times scale to bf16, of a scale that is
// rounded to bf16.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace trimeter::cuda {

struct WgmmaArgs {
  const char *w, *scales, *zeros, *x;
  const float* bias;
  float* y;
  float* partials;
  unsigned* counters;
  int64_t ldy;
  int n, m, k;
  int n_padded;               // rows of scales
  int n_segments;             // of 64 k's
  int units_of_row;           // of a row block
  int cluster;                // CTAs of a row block; 1: each CTA has the next `share` units,
  int share, longer;          // the first `longer` CTAs one more
  int n_groups, group_shift;  // 2^group_shift half segments (32 k's) share a scale
  bool bf16_scales, accumulate;
};

template <bool kZeros_, bool kSmallGroup_, int kTokens_, int kRowTiles_>
struct WgmmaConfig {
  static constexpr bool kZeros = kZeros_, kSmallGroup = kSmallGroup_;
  static constexpr int kTokens = kTokens_, kTokenTiles = kTokens / 8, kRowTiles = kRowTiles_;
  static constexpr int kConsumers = 8, kProducers = 4;  // warps
  static constexpr int kThreads = 32 * (kConsumers + kProducers);
  static constexpr int kWarpRows = kRowTiles * 16, kRows = kConsumers * kWarpRows;
  static constexpr int kPartialFloats = kRows * kTokens;  // of a CTA and row block
  // What a consumer warp reads of a unit's weights: codes [tile][1024 bytes], scales [group][row], zero points.
  static constexpr int kGroups = kSmallGroup ? 4 : 1;
  static constexpr int kTileBytes = 1024, kCodeBytes = kRowTiles * kTileBytes;
  static constexpr int kZerosAt = kCodeBytes + kGroups * kWarpRows * 2;
  static constexpr int kUnitBytes = (kZerosAt + (kZeros ? kGroups * kWarpRows / 2 : 0) + 15) / 16 * 16;
  static constexpr int kDepth = 5;  // units asked for
  // Inputs of all warps: 64 bytes of a token, half a segment, at a time; those that a producer thread brings of a unit,
  // and units that it has asked for.
  static constexpr int kInputBytes = kTokens * 256, kStages = kTokens == 128 ? 4 : 6, kAhead = kTokens == 128 ? 1 : 2;
  static constexpr int kRuns = kTokens * 4, kLaneRuns = (kRuns + 127) / 128;
  // Registers of a thread, of the 168 that each has at first.
  static constexpr int kProducerRegisters = 104, kConsumerRegisters = 200;
  static constexpr int kBarriersAt = kStages * kInputBytes, kWeightsAt = kBarriersAt + 2 * kStages * 8 + 32;
  static constexpr int kSharedBytes = kWeightsAt + kConsumers * kDepth * kUnitBytes;
  static constexpr int kMostCluster = 8;
  static_assert(kPartialFloats * 4 <= kStages * kInputBytes);
  static_assert(kWeightsAt % 16 == 0 && kSharedBytes <= 227 * 1024);
};

template <class C>
struct WgmmaKernel {
  const WgmmaArgs& args;
  char* shared;
  int lane, warp, g, q, begin, end, rank = 0;

  __device__ WgmmaKernel(const WgmmaArgs& a, char* s) : args(a), shared(s) {
    lane = threadIdx.x % 32;
    warp = __shfl_sync(0xffffffffu, threadIdx.x / 32, 0);  // which the compiler then knows to be one for all lanes
    g = lane / 4;
    q = lane % 4;
    const int cta = static_cast<int>(blockIdx.x);
    if (args.cluster == 1) {
      begin = first_unit(cta);
      end = first_unit(cta + 1);
    } else {
      const int first = cta / args.cluster * args.units_of_row;
      rank = cta % args.cluster;
      begin = first + rank * args.units_of_row / args.cluster;
      end = first + (rank + 1) * args.units_of_row / args.cluster;
    }
  }
  __device__ int first_unit(int cta) const { return cta * args.share + min(cta, args.longer); }
  __device__ char* input(int slot) const { return shared + slot * C::kInputBytes; }
  __device__ uint32_t full(int slot) const { return shared_address(shared) + C::kBarriersAt + slot * 8; }
  __device__ uint32_t empty(int slot) const { return full(C::kStages + slot); }
  __device__ void make_barriers() const {
    if (threadIdx.x == 0)
      for (int slot = 0; slot < C::kStages; slot++) {
        barrier_init(full(slot), 32 * C::kProducers);
        barrier_init(empty(slot), 32 * C::kConsumers);
      }
    __syncthreads();
  }

  // A producer thread's part of a unit's input.
  struct Runs {
    uint4 pieces[C::kLaneRuns][4];
  };
  struct RunPlace {
    int half, token, segment;
  };
  __device__ RunPlace run_place(int j) const {
    const int i = j * 32 * C::kProducers + static_cast<int>(threadIdx.x) - 32 * C::kConsumers;
    return {i % 2, i / 2 % C::kTokens, i / (2 * C::kTokens)};
  }
  __device__ void read_runs(int unit, Runs& runs) const {
#pragma unroll
    for (int j = 0; j < C::kLaneRuns; j++) {
      const RunPlace place = run_place(j);
      const int first = (unit * 2 + place.segment) * 64 + place.half * 32;
      const bool there = place.segment < 2 && place.token < args.m;
      const char* from = args.x + static_cast<uint32_t>((place.token * args.k + first) * 2);
#pragma unroll
      for (int p = 0; p < 4; p++)
        runs.pieces[j][p] =
            there && first + p * 8 < args.k ? *reinterpret_cast<const uint4*>(from + p * 16) : make_uint4(0, 0, 0, 0);
    }
  }
  __device__ void put_runs(int slot, const Runs& runs) const {
#pragma unroll
    for (int j = 0; j < C::kLaneRuns; j++) {
      const RunPlace place = run_place(j);
      if (place.segment >= 2) break;
      char* row = input(slot) + (place.segment * C::kTokens + place.token) * 128;
      const uint4(&p)[4] = runs.pieces[j];
      const uint4 words[4] = {{p[0].x, p[1].x, p[2].x, p[3].x},
                              {p[0].y, p[1].y, p[2].y, p[3].y},
                              {p[0].z, p[1].z, p[2].z, p[3].z},
                              {p[0].w, p[1].w, p[2].w, p[3].w}};
#pragma unroll
      for (int w = 0; w < 4; w++)
        *reinterpret_cast<uint4*>(row + (((place.half * 4 + w) ^ (place.token % 8)) << 4)) = words[w];
    }
    fence_for_wgmma();
    barrier_arrive(full(slot));
  }
  __device__ void produce() const {
    wait_for_inputs();
    Runs runs[C::kAhead];
    const int units = end - begin;
    int unit = begin % args.units_of_row, slot = 0, phase = 1, ready_slot = 0;
    for (int base = 0; base < units + C::kAhead - 1; base += C::kAhead)
#pragma unroll
      for (int j = 0; j < C::kAhead; j++) {
        const int i = base + j, ready = i - (C::kAhead - 1);
        if (i < units) {
          if (i >= C::kStages) barrier_wait(empty(slot), phase);
          read_runs(unit, runs[j]);
          if (++unit == args.units_of_row) unit = 0;
          if (++slot == C::kStages) {
            slot = 0;
            phase ^= 1;
          }
        }
        if (ready >= 0 && ready < units) {
          put_runs(ready_slot, runs[(j + 1) % C::kAhead]);
          if (++ready_slot == C::kStages) ready_slot = 0;
        }
      }
  }

  // A consumer warp's ring of its rows' weights. Rows past the end are the last ones again; k's are zeros.
  struct Weights {
    uint32_t to, ring, ring_end;  // where the next unit goes, and its turning point
    int block, unit, left;        // the next unit's row block and place in it; how many more
    const char *tiles[C::kRowTiles], *scales, *zeros;
  };
  static constexpr int kScaleLanes = 2 * C::kRowTiles;  // that copy 16 bytes of scales each
  __device__ void enter_block(Weights& weights) const {
    const int n_tiles = args.n_padded / 16, tile0 = weights.block * (C::kRows / 16) + warp * C::kRowTiles;
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++)
      weights.tiles[tile] =
          args.w + (static_cast<int64_t>(min(tile0 + tile, n_tiles - 1)) * args.n_segments + weights.unit * 2) * 512 +
          lane * 16;
    const int tile = min(tile0 + lane / 2 % C::kRowTiles, n_tiles - 1);
    weights.scales = args.scales + tile * 32 + lane % 2 * 16;
    weights.zeros = args.zeros + tile * 8;
  }
  __device__ void ask(Weights& weights) const {
    if (weights.left > 0) {
      const bool both = weights.unit * 2 + 1 < args.n_segments;
#pragma unroll
      for (int tile = 0; tile < C::kRowTiles; tile++) {
        copy_async16(weights.to + tile * C::kTileBytes + lane * 16, weights.tiles[tile], true);
        copy_async16(weights.to + tile * C::kTileBytes + 512 + lane * 16, weights.tiles[tile] + 512, both);
        weights.tiles[tile] += C::kTileBytes;
      }
      if (lane < kScaleLanes * C::kGroups) {
        const int i = lane / kScaleLanes, group = (weights.unit * 4 + i) >> args.group_shift;
        const uint64_t at = static_cast<uint64_t>(group) * static_cast<uint32_t>(args.n_padded);
        const bool there = !C::kSmallGroup || group < args.n_groups;
        copy_async16(weights.to + C::kCodeBytes + i * C::kWarpRows * 2 + lane % kScaleLanes * 16,
                     there ? weights.scales + at * 2 : weights.scales, there);
        if constexpr (C::kZeros)
          if (lane % 2 == 0)
            copy_async8(weights.to + C::kZerosAt + i * C::kWarpRows / 2 + lane % kScaleLanes * 4,
                        there ? weights.zeros + at / 2 : weights.zeros, there);
      }
      weights.left--;
      if (++weights.unit == args.units_of_row) {
        weights.unit = 0;
        weights.block++;
        enter_block(weights);
      }
      weights.to = weights.to + C::kUnitBytes == weights.ring_end ? weights.ring : weights.to + C::kUnitBytes;
    }
    cp_async_commit();
  }
  __device__ Weights begin_weights() const {
    Weights weights;
    weights.ring = shared_address(shared) + C::kWeightsAt + warp * (C::kDepth * C::kUnitBytes);
    weights.ring_end = weights.ring + C::kDepth * C::kUnitBytes;
    weights.to = weights.ring;
    weights.block = begin / args.units_of_row;
    weights.unit = begin - weights.block * args.units_of_row;
    weights.left = end - begin;
    enter_block(weights);
#pragma unroll 1
    for (int i = 0; i < C::kDepth - 1; i++) ask(weights);
    return weights;
  }

  using Sums = float[C::kRowTiles][C::kTokenTiles][4];
  struct Group {
    uint32_t scales[C::kRowTiles][2], zeros[C::kRowTiles][2];  // pairs, of rows g and g + 8
  };
  __device__ Group read_group(uint32_t from, int group) const {
    Group out;
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int row = group * C::kWarpRows + tile * 16 + g + 8 * r;
        const uint32_t bits = shared_load2(from + C::kCodeBytes + row * 2);
        const float scale = __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
        out.scales[tile][r] = args.bf16_scales ? bits * 0x10001u : pack_bf16x2(scale, scale);
        out.zeros[tile][r] = 0x43084308u;
        if constexpr (C::kZeros) {
          const uint32_t pair = shared_load1(from + C::kZerosAt + row / 2);
          out.zeros[tile][r] = 0x43004300u | (((pair >> (4 * (g & 1))) & 15) * 0x10001u);
        }
      }
    return out;
  }
  // Half c of a segment of a tile, codes times their scales: two steps of 16 k's.
  __device__ void widen_half(const uint4& piece, int c, const Group& group, int tile, uint32_t (&a)[2][4]) const {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const uint32_t codes = r == 0 ? (c == 0 ? piece.x : piece.y) : (c == 0 ? piece.z : piece.w);
#pragma unroll
      for (int p = 0; p < 4; p++)
        a[p / 2][p % 2 * 2 + r] = mul_bf16x2(int4_pair_to_bf16(codes, p, group.zeros[tile][r]), group.scales[tile][r]);
    }
  }

  static constexpr int kTiles = C::kRowTiles * C::kTokenTiles;  // of 16 rows and 8 tokens, a warp's
  __device__ float* partial(int cta, bool begins) const {
    return args.partials + (static_cast<int64_t>(cta) * 2 + begins) * C::kPartialFloats +
           (warp * kTiles * 32 + lane) * 4;
  }
  __device__ unsigned* counter(int row_block) const { return args.counters + row_block * C::kConsumers + warp; }
  template <class F>
  static __device__ void each_tile(const F& f) {
#pragma unroll
    for (int i = 0; i < kTiles; i++) f(i, i / C::kTokenTiles, i % C::kTokenTiles);
  }

  // Sums of tiles: tile_of(i) of the warp's, or none if it is negative. All that is read
  // is before the first write: the compiler knows not that they are apart.
  template <int kAtOnce, class F>
  __device__ void write_tiles(int row_block, const F& tile_of, const float (&sums)[kAtOnce][4]) const {
    float bias[kAtOnce][2], before[kAtOnce][4];
    const auto each = [&](const auto& f) {
#pragma unroll
      for (int i = 0; i < kAtOnce; i++) {
        const int tile = tile_of(i);
        if (tile < 0) continue;
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const int row = row_block * C::kRows + (warp * C::kRowTiles + tile / C::kTokenTiles) * 16 + g + 8 * r;
          if (row >= args.n) continue;
#pragma unroll
          for (int e = 0; e < 2; e++)
            if (const int token = tile % C::kTokenTiles * 8 + 2 * q + e; token < args.m)
              f(i, r, 2 * r + e, args.y + token * args.ldy + row, row);
        }
      }
    };
    each([&](int i, int r, int at, const float* y, int row) {
      bias[i][r] = args.bias != nullptr ? args.bias[row] : 0.0f;
      before[i][at] = args.accumulate ? *y : 0.0f;
    });
    each([&](int i, int r, int at, float* y, int) {
      const float value = sums[i][at] + bias[i][r];
      *y = args.accumulate ? before[i][at] + value : value;
    });
  }
  __device__ void write_all(int row_block, const Sums& sums) const {
    constexpr int kAtOnce = 4;
#pragma unroll
    for (int first = 0; first < kTiles; first += kAtOnce) {
      float part[kAtOnce][4];
      each_tile([&](int i, int tile, int t) {
        if (i / kAtOnce != first / kAtOnce) return;
#pragma unroll
        for (int e = 0; e < 4; e++) part[i % kAtOnce][e] = sums[tile][t][e];
      });
      write_tiles<kAtOnce>(
          row_block, [&](int i) { return first + i < kTiles ? first + i : -1; }, part);
    }
  }
  // Of a row block that two CTAs have: the first to come leaves its sums, the other adds them; true for the other. The
  // CTA that begins with it has the later k's. A CTA's two places: of the row block it ends with, of the one it begins
  // with.
  __device__ bool add_neighbour(int row_block, bool begins, Sums& sums) const {
    unsigned* count = counter(row_block);
    const int cta = static_cast<int>(blockIdx.x);
    bool is_there = __shfl_sync(0xffffffffu, lane == 0 ? load_acquire(count) : 0, 0) != 0;
    if (!is_there) {
      float* to = partial(cta, begins);
      each_tile([&](int i, int tile, int t) { *reinterpret_cast<float4*>(to + i * 128) = to_float4(sums[tile][t]); });
      __syncwarp();
      is_there = __shfl_sync(0xffffffffu, lane == 0 ? add_acquire_release(count, 1) : 0, 0) != 0;
      if (!is_there) return false;
    }
    if (lane == 0) *count = 0;
    __syncwarp();  // what lane 0 has acquired is there for all
    const float* from = begins ? partial(cta - 1, false) : partial(cta + 1, true);
    each_tile(
        [&](int i, int tile, int t) { add(sums[tile][t], __ldcg(reinterpret_cast<const float4*>(from + i * 128))); });
    return true;
  }
  static __device__ float4 to_float4(const float (&v)[4]) { return make_float4(v[0], v[1], v[2], v[3]); }
  static __device__ void add(float (&sum)[4], const float4& part) {
    sum[0] += part.x;
    sum[1] += part.y;
    sum[2] += part.z;
    sum[3] += part.w;
  }
  // This CTA's tiles of each warp's, of the cluster's sums, by way of shared memory where the input was.
  __device__ void add_cluster(int row_block, const Sums& sums) const {
    __syncthreads();
    const uint32_t mine = shared_address(shared) + (warp * kTiles * 32 + lane) * 16;
    each_tile([&](int i, int tile, int t) { shared_store16(mine + i * 512, to_float4(sums[tile][t])); });
    cluster_sync();
    constexpr int kAtOnce = 2;
    const int end_tile = (rank + 1) * kTiles / args.cluster;
    for (int first = rank * kTiles / args.cluster; first < end_tile; first += kAtOnce) {
      float sum[kAtOnce][4] = {};
#pragma unroll
      for (int cta = 0; cta < C::kMostCluster; cta++) {
        if (cta >= args.cluster) break;
        const uint32_t from = shared_of_cluster(mine, cta);
#pragma unroll
        for (int i = 0; i < kAtOnce; i++)
          if (first + i < end_tile) add(sum[i], cluster_load16(from + (first + i) * 512));
      }
      write_tiles<kAtOnce>(
          row_block, [&](int i) { return first + i < end_tile ? first + i : -1; }, sum);
    }
    __syncwarp();
    cluster_sync();  // what others read is here until they have
  }
  using Pieces = uint4[C::kRowTiles];
  __device__ void read_pieces(uint32_t from, int s, Pieces& pieces) const {
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++)
      pieces[tile] = shared_load16(from + tile * C::kTileBytes + s * 512 + lane * 16);
  }
  __device__ void consume() const {
    Weights weights = begin_weights();
    wait_for_inputs();
    // Codes are read a segment ahead, scales a unit.
    uint32_t from = weights.ring;
    Pieces pieces;
    Group group{};
    cp_async_wait<C::kDepth - 2>();
    __syncwarp();
    read_pieces(from, 0, pieces);
    if constexpr (!C::kSmallGroup) group = read_group(from, 0);
    int slot = 0, phase = 0;
    for (int unit = begin; unit < end;) {
      const int row_block = unit / args.units_of_row, first = row_block * args.units_of_row,
                n = min(first + args.units_of_row, end) - unit;
      Sums sums = {};
      int slot_before = -1;
      for (int i = 0; i < n; i++) {
        const uint64_t operand = wgmma_operand(shared_address(input(slot)));
        const uint32_t next = from + C::kUnitBytes == weights.ring_end ? weights.ring : from + C::kUnitBytes;
        Group next_group{};
#pragma unroll
        for (int s = 0; s < 2; s++) {
          Pieces now;
#pragma unroll
          for (int tile = 0; tile < C::kRowTiles; tile++) now[tile] = pieces[tile];
          if (s == 1) {
            cp_async_wait<C::kDepth - 3>();
            __syncwarp();
            if constexpr (!C::kSmallGroup) next_group = read_group(next, 0);
          }
          read_pieces(s == 0 ? from : next, 1 - s, pieces);
          if (s == 0) barrier_wait(full(slot), phase);
#pragma unroll
          for (int c = 0; c < 2; c++) {
            if constexpr (C::kSmallGroup) group = read_group(from, s * 2 + c);
#pragma unroll
            for (int tile = 0; tile < C::kRowTiles; tile++) {
              uint32_t a[2][4];
              widen_half(now[tile], c, group, tile, a);
              wgmma_fence();
#pragma unroll
              for (int step = 0; step < 2; step++)
                wgmma(sums[tile], a[step], operand + s * (C::kTokens * 128 / 16) + (c * 2 + step) * 2);
              wgmma_commit();
            }
            if (s == 1 && c == 1) {
              __syncwarp();
              ask(weights);
            }
            wgmma_wait<C::kRowTiles>();
            if (s == 0 && c == 0 && slot_before >= 0) barrier_arrive(empty(slot_before));
          }
        }
        group = next_group;
        from = next;
        slot_before = slot;
        if (++slot == C::kStages) {
          slot = 0;
          phase ^= 1;
        }
      }
      wgmma_wait<0>();
      each_tile([&](int, int tile, int t) { fence_registers(sums[tile][t]); });
      barrier_arrive(empty(slot_before));
      unit += n;
      if (args.cluster > 1) {
        add_cluster(row_block, sums);
      } else if (n == args.units_of_row || add_neighbour(row_block, unit - n > first, sums)) {
        write_all(row_block, sums);
      }
    }
  }
  __device__ void run() const {
    let_next_start();
    make_barriers();
    if (warp < C::kConsumers) {
      more_registers<C::kConsumerRegisters>();
      consume();
    } else {
      fewer_registers<C::kProducerRegisters>();
      produce();
      if (args.cluster > 1) {
        __syncthreads();
        cluster_sync();
        cluster_sync();
      }
    }
  }
};

template <class C>
__global__ void __launch_bounds__(C::kThreads, 1) wgmma_matmul_kernel(const __grid_constant__ WgmmaArgs args) {
  extern __shared__ __align__(1024) char wgmma_shared[];
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  WgmmaKernel<C>(args, wgmma_shared).run();
#else
  __trap();
#endif
}

}  // namespace trimeter::cuda
