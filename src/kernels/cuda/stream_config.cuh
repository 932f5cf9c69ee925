// What a kernel of stream_matmul.cuh is told, and its sizes.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/ops.h"

namespace trimeter::cuda {

struct StreamArgs {
  const char* w;
  const char* w_scales;  // by row or tensor: f32; by block: f32; by group: fp16 or bf16
  const char* w_zeros;
  const char* x;
  const float* x_scales;  // by token [m], by token and 128 inputs [k / 128][x_scale_stride], or null
  float x_scale;          // where x_scales is null
  RawInput raw;           // if it has one, instead of x and, if not fixed_scale, x_scale
  bool fixed_scale;
  SiluMul silu;  // resident, kEnd: tiles have 8 rows of each half, and this is written instead of y
  const float* bias;
  float* y;
  float* partials;
  unsigned* counters;
  int64_t ldy;
  int n, m, k;
  int k_padded;        // k of a row of w as it lies in memory
  int n_segments;      // ceil(k_padded / segment)
  int stages_per_row;  // units of a row block
  int share;           // units that a CTA gets at a time: 1, or those of a row block
  int shares_of_cta, shares_left;
  int scale_stride;    // by block: f32 of a row of blocks
  int n_groups;        // by group
  int group_shift;     // by group: 2^group_shift half segments (32 k's) share a scale; 31: all
  int n_stages;        // of the ring: 2 ... kMaxStages
  int n_early;         // of them, asked for before a raw input is; fewer than n_stages
  int x_scale_stride;  // by block: from 128 inputs to the next
  bool per_row, bf16_scales, accumulate;
};

enum class Weights { kF16, kBF16, kE4M3, kI8, kE4M3Wide, kI8Wide, kI4, kI4Zero };  // kI4Zero: with zero points
// When sums meet their scales: at the end; with each block of 128 x 128; with each group, which is a multiple of 128
// (kGroup) or of 32 k's (kSmallGroup).
enum class Scaling { kEnd, kBlock, kGroup, kSmallGroup };

inline constexpr int kMostResidentBytes = 40 << 10;  // more would leave the ring too little

// kDeep: the warps share the k's of 16 or 32 rows. kResident: the whole input of one token stays in shared memory, for
// all row blocks of a CTA; a warp then copies all that it reads of a stage, and waits for no other until the row
// block's sums meet.
template <Weights kWeights_, Scaling kScaling_, int kTokenTiles_, bool kDeep_ = false, int kRowTiles_ = 1,
          bool kResident_ = false>
struct StreamConfig {
  static constexpr Weights kWeights = kWeights_;
  static constexpr Scaling kScaling = kScaling_;
  static constexpr bool kByGroup = kScaling == Scaling::kGroup || kScaling == Scaling::kSmallGroup;
  static constexpr int kTokenTiles = kTokenTiles_, kTokens = 8 * kTokenTiles;
  static constexpr bool kByteInput = kWeights == Weights::kE4M3 || kWeights == Weights::kI8;
  static constexpr int kSegment = kByteInput ? 128 : 64;  // k's
  // 16-byte pieces of a lane per 16 rows and segment.
  static constexpr bool kNibbles = kWeights == Weights::kI4 || kWeights == Weights::kI4Zero;
  static constexpr bool kZeros = kWeights == Weights::kI4Zero;
  // Codes are multiplied with 128 added, which is taken off again with the input's sum: one more product a fragment of
  // the input, for one subtraction less a pair of codes.
  static constexpr bool kOffset = kNibbles && kTokenTiles_ == 1 && kScaling == Scaling::kGroup;
  // Codes meet their scales before they are multiplied, rounded to bf16: with so many tokens there are no registers for
  // the sums of a group.
  static constexpr bool kScaledCodes = kByGroup && kTokenTiles_ == 8;
  static constexpr int kPieces = kNibbles ? 1 : kWeights == Weights::kE4M3Wide || kWeights == Weights::kI8Wide ? 2 : 4;
  static constexpr int kWarps = 8, kThreads = 32 * kWarps;
  static constexpr bool kDeep = kDeep_, kResident = kResident_;
  static_assert(!kResident || (kDeep && kTokenTiles == 1 && !kNibbles && !(kScaling == Scaling::kBlock && kByteInput)));
  static_assert(!kDeep || kTokenTiles <= 2);
  static constexpr int kRowWarps = !kDeep ? kWarps : kTokenTiles == 1 || kNibbles ? 1 : 2;
  static constexpr int kDepthWarps = kWarps / kRowWarps;
  static_assert(!kResident || kRowWarps == 1);
  static constexpr int kRowTiles = kRowTiles_;
  // Of a warp and stage.
  static constexpr int kSegments = kPieces == 4 || (kDeep && kTokenTiles > 1)   ? 1
                                   : kPieces == 1 && kTokenTiles <= 2 && !kDeep ? 4
                                                                                : 2;
  static constexpr int kStageSegments = kSegments * kDepthWarps;
  static constexpr int kCtasOfSm = 2;
  static constexpr int kRows = kRowWarps * kRowTiles * 16;
  static constexpr int kMaxStages = kResident ? 10 : 6;

  using Sum = std::conditional_t<kWeights == Weights::kI8, int, float>;
  using Operand = std::conditional_t<
      kWeights == Weights::kI8, int8_t,
      std::conditional_t<kWeights == Weights::kF16 || kWeights == Weights::kE4M3, __half, __nv_bfloat16>>;
  // Products (of 16 or, in int8, 32 k's) of half a segment.
  static constexpr int kSteps = kWeights == Weights::kE4M3 ? 4 : 2;

  static constexpr int kTileBytes = kSegments * kPieces * 512;  // 16 rows of a stage
  static constexpr int kRowPieces = kTileBytes / 256;           // of 16 bytes, of a row; not kI4
  static constexpr int kWeightBytes = kWarps * kRowTiles * kTileBytes;
  static constexpr int kInputBytes = kResident ? 0 : kStageSegments * kTokens * 128;
  // By group: a row of scales and one of zero points for each group of a stage. By block: the weight's, then the
  // tokens'.
  static constexpr int kGroupBytes = kRows * 2 + (kZeros ? (kRows / 2 + 15) / 16 * 16 : 0);
  static constexpr int kGroupHalves = kScaling == Scaling::kSmallGroup ? 1 : kSegments == 1 ? 2 : 4;
  static constexpr int kWarpGroups = 2 * kSegments / kGroupHalves, kStageGroups = kWarpGroups * kDepthWarps;
  static constexpr int kBlockRows = kRows < 128 ? 1 : kRows / 128;
  static constexpr int kBlockBytes = 16 + (kByteInput ? kTokens * 4 : 0);  // of a depth
  static constexpr int kScaleBytes = kByGroup                      ? kStageGroups * kGroupBytes
                                     : kScaling == Scaling::kBlock ? kBlockBytes * kDepthWarps
                                                                   : 0;
  static constexpr int kStageBytes = kWeightBytes + kInputBytes + kScaleBytes;
  // Behind the ring: sums of all depths. Resident: of two row blocks, as one is added up while the next is multiplied.
  static constexpr int kDepthBytes = (kDepthWarps - 1) * kRows * kTokens * 4 * (kResident ? 2 : 1);
  static constexpr int kPartialFloats = kRows * kTokens;  // of a CTA and row block
};

}  // namespace trimeter::cuda
