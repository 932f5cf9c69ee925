// The input of one token that no kernel has prepared (ops.h: RawInput), whole in the registers of each CTA that
// multiplies it: to start a kernel for it takes longer than to do this everywhere. Its loads wait behind those of the
// weight that all CTAs have asked for, so that rings are filled after them. Traffic: the row once a CTA, from L2.
#pragma once
#include <cstdint>

#include "kernels/cuda/input_codes.cuh"
#include "kernels/cuda/ops.h"

namespace trimeter::cuda {

// Stages of a ring that are asked for before a raw input.
inline constexpr int kRawStages = 2;

template <int kThreads>
struct RawRow {
  static constexpr int kRounds = (static_cast<int>(kMostRawInputs) + 8 * kThreads - 1) / (8 * kThreads);
  float v[kRounds][8], gain[kRounds][8];

  __device__ static int at(int round) { return (round * kThreads + static_cast<int>(threadIdx.x)) * 8; }
  __device__ static void read8(const float* from, bool there, float (&to)[8]) {
    const float4 zero{}, a = there ? __ldcg(reinterpret_cast<const float4*>(from)) : zero,
                         b = there ? __ldcg(reinterpret_cast<const float4*>(from) + 1) : zero;
    to[0] = a.x, to[1] = a.y, to[2] = a.z, to[3] = a.w, to[4] = b.x, to[5] = b.y, to[6] = b.z, to[7] = b.w;
  }
  // Nobody's output: it may be read while kernels before this one still run.
  __device__ void read_gain(const RawInput& raw, int n) {
    if (raw.gain == nullptr) return;
#pragma unroll
    for (int r = 0; r < kRounds; r++) read8(raw.gain + at(r), at(r) < n, gain[r]);
  }
  // By all threads: what follows the row is 0. room: of this call alone. meanwhile: what else is to be done as soon as
  // the row has been asked for.
  template <class F>
  __device__ void read(const RawInput& raw, int n, float (&room)[32], const F& meanwhile) {
    const float* from = raw.x + (raw.row != nullptr ? static_cast<int64_t>(*raw.row) * n : 0);
#pragma unroll
    for (int r = 0; r < kRounds; r++) read8(from + at(r), at(r) < n, v[r]);
    meanwhile();
    if (raw.gain == nullptr) return;
    float sum = 0;
#pragma unroll
    for (int r = 0; r < kRounds; r++)
#pragma unroll
      for (int e = 0; e < 8; e++) sum += v[r][e] * v[r][e];
    const float scale = inverse_rms(reduce_in_cta(sum, Add{}, room), n, raw.eps);
#pragma unroll
    for (int r = 0; r < kRounds; r++)
#pragma unroll
      for (int e = 0; e < 8; e++) v[r][e] = gain[r][e] * (v[r][e] * scale);
  }
  __device__ float largest(float (&room)[32]) const {
    float most = 0;
#pragma unroll
    for (int r = 0; r < kRounds; r++)
#pragma unroll
      for (int e = 0; e < 8; e++) most = fmaxf(most, fabsf(v[r][e]));
    return reduce_in_cta(most, Max{}, room);
  }
};

}  // namespace trimeter::cuda
