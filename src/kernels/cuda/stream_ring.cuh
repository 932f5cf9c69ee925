// How a CTA of stream_matmul.cuh gets what it multiplies: a ring of stages in shared memory, filled by cp.async.
#pragma once
#include <cstdint>

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/raw_row.cuh"
#include "kernels/cuda/stream_config.cuh"

namespace trimeter::cuda {

template <class C>
struct StreamRing {
  const StreamArgs& args;
  char* shared;
  int lane, warp, g, q, row_warp, depth;
  // The unit to be copied next, and where the rows that this lane copies begin, in pieces of 16 bytes.
  int next_row_block, next_stage, units_to_load;
  float x_scale;
  static constexpr int kLaneCopies = C::kNibbles ? 1 : C::kRowPieces / 2;  // of a tile; kI4: and segment
  uint32_t rows_at[C::kRowTiles][kLaneCopies];

  __device__ StreamRing(const StreamArgs& a, char* s) : args(a), shared(s) {
    lane = threadIdx.x % 32;
    warp = threadIdx.x / 32;
    g = lane / 4;
    q = lane % 4;
    row_warp = warp % C::kRowWarps;
    depth = warp / C::kRowWarps;
    x_scale = args.x_scale;
  }

  // Neighbouring tokens' pieces fall into different halves of the banks.
  static __device__ int input_offset(int token, int piece) { return token * 128 + ((piece ^ ((token & 1) << 2)) << 4); }
  static __device__ constexpr int element_bytes() {
    return C::kWeights == Weights::kF16 || C::kWeights == Weights::kBF16 ? 2 : 1;
  }
  __device__ char* stage(int slot) const { return shared + slot * C::kStageBytes; }
  // Behind the ring: the depths' sums, then, if it is resident, the input, [segment][128 bytes].
  __device__ char* depth_sums() const { return stage(args.n_stages); }
  __device__ char* resident_input(int segment) const { return depth_sums() + C::kDepthBytes + segment * 128; }
  __device__ int warp_row(int row_block, int tile) const {
    return row_block * C::kRows + (row_warp * C::kRowTiles + tile) * 16;
  }
  static constexpr bool kMakesSilu = C::kResident && C::kScaling == Scaling::kEnd;
  // The i-th of 16 rows.
  __device__ int tile_row(int row0, int i) const {
    return kMakesSilu && args.silu.to != nullptr ? row0 / 2 + i % 8 + i / 8 * (args.n / 2) : row0 + i;
  }

  // Where a piece of a row lies within its tile: neighbouring rows fall into different halves of the banks.
  static __device__ int weight_offset(int row, int piece) {
    return row * (C::kRowPieces * 16) + ((C::kRowPieces < 8 ? piece : piece ^ ((row & 1) << 2)) << 4);
  }
  // The row of a tile and the piece of it that a lane copies the i-th time: whole lines of 128 bytes at a time.
  __device__ int copied_row(int i) const { return lane / C::kRowPieces + i * (32 / C::kRowPieces); }
  __device__ int copied_piece() const { return lane % C::kRowPieces; }

  // Rows past the end are the last one again, and so are k's: nobody reads what comes of them, or their input is 0.
  __device__ void enter_row_block() {
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++) {
      const int row0 = warp_row(next_row_block, tile);
      if constexpr (C::kNibbles) {
        rows_at[tile][0] = static_cast<uint32_t>(min(row0, args.n - 1) / 16) * args.n_segments * 32 + lane;
      } else {
        const uint32_t row_pieces = static_cast<uint32_t>(args.k_padded) * element_bytes() / 16;
#pragma unroll
        for (int i = 0; i < kLaneCopies; i++)
          rows_at[tile][i] = static_cast<uint32_t>(min(tile_row(row0, copied_row(i)), args.n - 1)) * row_pieces;
      }
    }
  }
  // Whether any of a warp's segments of a stage is there; those that only fill a stage up are neither copied nor
  // multiplied where a warp goes its own way.
  __device__ bool has_segments(int unit_stage) const {
    return !C::kResident || (unit_stage * C::kDepthWarps + depth) * C::kSegments < args.n_segments;
  }
  __device__ void copy_weights(char* to, uint32_t piece) const {
    cp_async16(to, args.w + static_cast<uint64_t>(piece) * 16);
  }
  __device__ void load_weights(char* to) const {
    char* warp_to = to + warp * (C::kRowTiles * C::kTileBytes);
#pragma unroll
    for (int tile = 0; tile < C::kRowTiles; tile++) {
      char* tile_to = warp_to + tile * C::kTileBytes;
      if constexpr (C::kNibbles) {
#pragma unroll
        for (int s = 0; s < C::kSegments; s++)
          copy_weights(tile_to + s * 512 + lane * 16,
                       rows_at[tile][0] +
                           min((next_stage * C::kDepthWarps + depth) * C::kSegments + s, args.n_segments - 1) * 32);
      } else {
        const int row_pieces = args.k_padded * element_bytes() / 16;
        const int piece = min((next_stage * C::kDepthWarps + depth) * C::kRowPieces + copied_piece(), row_pieces - 1);
#pragma unroll
        for (int i = 0; i < kLaneCopies; i++)
          copy_weights(tile_to + weight_offset(copied_row(i), copied_piece()), rows_at[tile][i] + piece);
      }
    }
  }

  // The j-th 16 bytes of a stage's input that this thread copies.
  static constexpr int kInputCopies = (C::kStageSegments * C::kTokens * 8 + C::kThreads - 1) / C::kThreads;
  struct InputCopy {
    const char* from;
    int to;       // within the stage's input; -1: none
    bool inside;  // of the matrix; else zeros
  };
  __device__ InputCopy input_copy(int j, int unit_stage) const {
    const int i = j * C::kThreads + threadIdx.x, piece = i % 8, token = i / 8 % C::kTokens, s = i / (8 * C::kTokens);
    const int row_bytes = args.k * (C::kByteInput ? 1 : 2),
              at = (unit_stage * C::kStageSegments + s) * 128 + piece * 16;
    const bool inside = at < row_bytes;
    // Tokens that aren't there need no zeros: nobody reads what comes of them.
    return {args.x + (inside ? static_cast<uint32_t>(token * row_bytes + at) : 0),
            s < C::kStageSegments && token < args.m ? s * C::kTokens * 128 + input_offset(token, piece) : -1, inside};
  }
  static constexpr bool kInputScales = C::kScaling == Scaling::kBlock && C::kByteInput;
  // Threads depth * kTokens + token have a token's scale of a depth's block.
  __device__ bool has_input_scale() const {
    return threadIdx.x < C::kDepthWarps * C::kTokens && static_cast<int>(threadIdx.x) % C::kTokens < args.m;
  }
  __device__ const float* input_scale(int unit_stage) const {
    const int block =
        min(unit_stage * C::kDepthWarps + static_cast<int>(threadIdx.x) / C::kTokens, args.n_segments - 1);
    return args.x_scales + static_cast<int64_t>(block) * args.x_scale_stride + threadIdx.x % C::kTokens;
  }
  static __device__ int input_scale_at() {
    return C::kInputBytes + threadIdx.x / C::kTokens * C::kBlockBytes + 16 + threadIdx.x % C::kTokens * 4;
  }
  __device__ void load_input(char* to) const {
#pragma unroll
    for (int j = 0; j < kInputCopies; j++) {
      const InputCopy copy = input_copy(j, next_stage);
      if (copy.to >= 0) cp_async16(to + copy.to, copy.from, copy.inside ? 16 : 0);
    }
    if constexpr (kInputScales) {
      if (has_input_scale()) cp_async4(to + input_scale_at(), input_scale(next_stage));
    }
  }
  // All of it, once, by way of registers: all loads are in flight at once. Segments that only fill a stage up are
  // zeros.
  __device__ void fill_resident_input() const {
    constexpr int kMost = kMostResidentBytes / 16 / C::kThreads;
    const int n_pieces = args.stages_per_row * C::kStageSegments * 8, row_bytes = args.k * (C::kByteInput ? 1 : 2);
    uint4 pieces[kMost];
#pragma unroll
    for (int j = 0; j < kMost; j++) {
      const int at = (j * C::kThreads + static_cast<int>(threadIdx.x)) * 16;
      pieces[j] = at < row_bytes ? *reinterpret_cast<const uint4*>(args.x + at) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int j = 0; j < kMost; j++)
      if (const int i = j * C::kThreads + static_cast<int>(threadIdx.x); i < n_pieces)
        *reinterpret_cast<uint4*>(resident_input(0) + i * 16) = pieces[j];
  }
  using Room = float[32];
  __device__ Room& room_of_sums(int i) const { return reinterpret_cast<Room*>(depth_sums())[i]; }
  // The same of a raw input.
  __device__ void fill_raw_input(const RawRow<C::kThreads>& row) {
    char* to = resident_input(0);
    const auto each = [&](auto code) {  // of 8 values
#pragma unroll
      for (int r = 0; r < row.kRounds; r++)
        if (const int at = row.at(r); at < args.k) code(at, row.v[r]);
    };
    const auto codes = [&](auto pair) {
      each([&](int at, const float(&v)[8]) {
        *reinterpret_cast<uint2*>(to + at) = {pair(v[0], v[1]) | pair(v[2], v[3]) << 16,
                                              pair(v[4], v[5]) | pair(v[6], v[7]) << 16};
      });
    };
    if constexpr (C::kWeights == Weights::kE4M3) {
      if (args.fixed_scale) {
        const float inverse = __fdiv_rn(1.0f, args.x_scale);
        codes([&](float a, float b) { return e4m3x2(a * inverse, b * inverse); });
      } else {
        x_scale = e4m3_scale(row.largest(room_of_sums(1)));
        const Divisor by = divisor(x_scale);
        codes([&](float a, float b) { return e4m3x2(by(a), by(b)); });
      }
    } else if constexpr (C::kWeights == Weights::kI8) {
      if (args.fixed_scale) {
        const auto code = [&](float f) { return int8(__fdiv_rn(f, args.x_scale)); };
        codes([&](float a, float b) { return code(a) | code(b) << 8; });
      } else {
        const float most = row.largest(room_of_sums(1)), inverse = int8_inverse(most);
        x_scale = int8_scale(most);
        codes([&](float a, float b) { return int8(a * inverse) | int8(b * inverse) << 8; });
      }
    } else {
      each([&](int at, const float(&v)[8]) {
        const auto pair = [&](int i) {
          if constexpr (C::kWeights == Weights::kF16)
            return pack_f16x2(v[i], v[i + 1]);
          else
            return pack_bf16x2(v[i], v[i + 1]);
        };
        *reinterpret_cast<uint4*>(to + at * 2) = {pair(0), pair(2), pair(4), pair(6)};
      });
    }
    const int row_pieces = args.k * (C::kByteInput ? 1 : 2) / 16,
              n_pieces = args.stages_per_row * C::kStageSegments * 8;
    for (int i = row_pieces + static_cast<int>(threadIdx.x); i < n_pieces; i += C::kThreads)
      *reinterpret_cast<uint4*>(to + i * 16) = {};
  }
  // The input of the first stages, by way of registers: all loads are in flight at once.
  __device__ void fill_input(int unit_stage, int filled) const {
    constexpr int kMost = C::kMaxStages - 1;
    uint4 pieces[kMost][kInputCopies];
    float scales[kMost];
    int stages[kMost];
#pragma unroll
    for (int slot = 0; slot < kMost; slot++) {
      stages[slot] = unit_stage;
      if (++unit_stage == args.stages_per_row) unit_stage = 0;
      if (slot >= filled) break;
#pragma unroll
      for (int j = 0; j < kInputCopies; j++) {
        const InputCopy copy = input_copy(j, stages[slot]);
        pieces[slot][j] =
            copy.inside && copy.to >= 0 ? *reinterpret_cast<const uint4*>(copy.from) : make_uint4(0, 0, 0, 0);
      }
      if constexpr (kInputScales) scales[slot] = has_input_scale() ? *input_scale(stages[slot]) : 0.0f;
    }
#pragma unroll
    for (int slot = 0; slot < kMost; slot++) {
      if (slot >= filled) break;
      char* to = stage(slot) + C::kWeightBytes;
#pragma unroll
      for (int j = 0; j < kInputCopies; j++) {
        const InputCopy copy = input_copy(j, stages[slot]);
        if (copy.to >= 0) *reinterpret_cast<uint4*>(to + copy.to) = pieces[slot][j];
      }
      if constexpr (kInputScales) {
        if (has_input_scale()) *reinterpret_cast<float*>(to + input_scale_at()) = scales[slot];
      }
    }
  }
  // All of the stage's, shared by all threads; resident: those of a warp's own depth, by the warp.
  __device__ void load_weight_scales(char* to) const {
    if constexpr (C::kByGroup) {
      const int padded = (args.n + 15) / 16 * 16, row0 = next_row_block * C::kRows;
      constexpr int kRuns = C::kRows / 16;  // of 16 rows: 32 bytes of scales, 8 of zero points
      const int i = C::kResident ? lane : threadIdx.x;
      if (i >= kRuns * (C::kResident ? C::kWarpGroups : C::kStageGroups)) return;
      const int part = i / kRuns + (C::kResident ? depth * C::kWarpGroups : 0);
      const int half = next_stage * C::kStageSegments * 2 + part * C::kGroupHalves;
      const int group = min(half >> args.group_shift, args.n_groups - 1), row = min(row0 + i % kRuns * 16, padded - 16);
      const int64_t at = static_cast<int64_t>(group) * padded + row;
      char* scales = to + part * C::kGroupBytes + i % kRuns * 32;
      cp_async16(scales, args.w_scales + at * 2);
      cp_async16(scales + 16, args.w_scales + at * 2 + 16);
      if constexpr (C::kZeros)
        cp_async8(to + part * C::kGroupBytes + C::kRows * 2 + i % kRuns * 8, args.w_zeros + at / 2);
    }
    if constexpr (C::kScaling == Scaling::kBlock) {
      const int i = C::kResident ? lane : threadIdx.x, part = i % C::kBlockRows,
                d = C::kResident ? depth : i / C::kBlockRows;
      if (i >= C::kBlockRows * (C::kResident ? 1 : C::kDepthWarps)) return;
      const int row = min(next_row_block * C::kRows / 128 + part, (args.n + 127) / 128 - 1);
      const int segment = min((next_stage * C::kDepthWarps + d) * C::kSegments, args.n_segments - 1);
      const int block = segment * C::kSegment / 128;
      cp_async4(to + d * C::kBlockBytes + part * 4,
                args.w_scales + (static_cast<int64_t>(row) * args.scale_stride + block) * 4);
    }
  }
  static_assert(C::kScaling != Scaling::kBlock || C::kSegments * C::kSegment <= 128);

  __device__ void advance() {
    units_to_load--;
    if (++next_stage == args.stages_per_row) {
      next_stage = 0;
      next_row_block++;
      enter_row_block();
    }
  }
  __device__ void load_next(int slot) {
    if (units_to_load > 0) {
      if (has_segments(next_stage)) {
        char* to = stage(slot);
        load_weights(to);
        if constexpr (!C::kResident) load_input(to + C::kWeightBytes);
        load_weight_scales(to + C::kWeightBytes + C::kInputBytes);
      }
      advance();
    }
    cp_async_commit();
  }
  // Fills all stages of the ring but one: the weight's part while kernels before this one still run, with a raw input
  // n_early of them, the rest right behind its loads. at_inputs: what else is read as soon as they have ended.
  template <class F>
  __device__ void fill_ring(const F& at_inputs) {
    const int first_stage = next_stage, filled = min(args.n_stages - 1, units_to_load);
    const auto fill = [&](int begin, int end) {
      for (int slot = begin; slot < end; slot++) {
        if (slot < filled) {
          if (has_segments(next_stage)) {
            load_weights(stage(slot));
            load_weight_scales(stage(slot) + C::kWeightBytes + C::kInputBytes);
          }
          advance();
        }
        cp_async_commit();
      }
    };
    const int n_early = C::kResident && args.raw.x != nullptr ? args.n_early : args.n_stages - 1;
    fill(0, n_early);
    if constexpr (C::kResident) {
      if (args.raw.x != nullptr) {
        RawRow<C::kThreads> row;
        row.read_gain(args.raw, args.k);
        wait_for_inputs();
        at_inputs();
        row.read(args.raw, args.k, room_of_sums(0), [&] { fill(n_early, args.n_stages - 1); });
        fill_raw_input(row);
      } else {
        wait_for_inputs();
        at_inputs();
        fill_resident_input();
      }
      __syncthreads();
    } else {
      wait_for_inputs();
      at_inputs();
      fill_input(first_stage, filled);
    }
  }
};

}  // namespace trimeter::cuda
