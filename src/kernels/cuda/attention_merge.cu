// The splits of attention_decode.cu, merged: into f32, or into what the output projection multiplies.
#include <cmath>

#include "kernels/cuda/attention_args.cuh"
#include "kernels/cuda/row_kernel.cuh"

namespace trimeter::cuda {
namespace {

// A warp has 128 channels: the head_dim / 4 lanes of a head read the maxima and sums of its splits together.
struct MergeSource {
  static constexpr bool kNorm = false;
  static constexpr int64_t kPartMost = 512;
  AttentionArgs args;
  int tile;  // of the decode kernel; tokens

  __device__ int64_t to_row(int64_t seq) const {
    return rows_of(args.step, static_cast<int>(seq)) == 1 ? args.step.row_begin[seq] : -1;
  }
  __device__ float4 value4(int64_t seq, int i, int) const {
    const int head_dim = args.cache.head_dim, lanes = head_dim / 4, lane = static_cast<int>(threadIdx.x) % 32 % lanes,
              first_lane = static_cast<int>(threadIdx.x) % 32 - lane;
    const int head = min(i / head_dim, args.n_heads - 1), channel = lane * 4;
    const int n_context = args.step.positions[args.step.row_begin[seq]] + 1, n_tiles = (n_context + tile - 1) / tile;
    const int tiles_of_split = (n_tiles + args.n_splits - 1) / args.n_splits;
    const int used = n_context > 0 ? (n_tiles + tiles_of_split - 1) / tiles_of_split : 0;
    const int64_t at = (seq * args.n_heads + head) * args.n_splits;
    float most_of[kMostRounds], keep[kMostRounds], most = -INFINITY, total = 0;
#pragma unroll
    for (int j = 0; j < kMostRounds; j++) {
      const int s = j * lanes + lane;
      const float2 stats =
          s < used ? reinterpret_cast<const float2*>(args.partial_stats)[at + s] : float2{-INFINITY, 0};
      most_of[j] = stats.x;
      keep[j] = stats.y;
      most = fmaxf(most, stats.x);
    }
    for (int step = lanes / 2; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, step));
#pragma unroll
    for (int j = 0; j < kMostRounds; j++) {
      const float weight = most_of[j] == -INFINITY ? 0.0f : exp2f(most_of[j] - most);
      total += weight * keep[j];
      keep[j] = weight;
    }
    for (int step = lanes / 2; step > 0; step /= 2) total += __shfl_xor_sync(0xffffffffu, total, step);
    float4 sum{};
    const float* from = args.partial_out + at * head_dim + channel;
#pragma unroll
    for (int j = 0; j < kMostRounds; j++) {
      const int n = min(lanes, used - j * lanes);
#pragma unroll 4
      for (int l = 0; l < n; l++) {
        const float weight = __shfl_sync(0xffffffffu, keep[j], first_lane + l);
        const float4 part = *reinterpret_cast<const float4*>(from + (j * lanes + l) * head_dim);
        sum.x += weight * part.x, sum.y += weight * part.y, sum.z += weight * part.z, sum.w += weight * part.w;
      }
    }
    const float scale = used > 0 ? args.cache.v_scale / total : 0.0f;
    return {sum.x * scale, sum.y * scale, sum.z * scale, sum.w * scale};
  }
  __device__ float value(int64_t, int) const { return 0; }  // whole quads in order alone: can_merge()

  static constexpr int kMostRounds = kMostSplits / 16;
};

}  // namespace

bool can_merge_into(const DeviceInput& out) { return out.input_order == nullptr && out.in % 4 == 0; }

void launch_merge(const AttentionArgs& args, int tile, const DeviceInput& out, cudaStream_t stream) {
  launch_rows(MergeSource{args, tile}, out, stream);
}

}  // namespace trimeter::cuda
