#include <cooperative_groups.h>

#include <algorithm>
#include <cfloat>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/ptx.cuh"

namespace trimeter::cuda {
namespace {

constexpr int kThreads = 1024, kMostParts = 8;

struct Best {
  float logit;
  int token;
  __device__ void take(float other, int other_token) {
    if (other > logit || (other == logit && other_token < token)) logit = other, token = other_token;
  }
};

// A row by the `parts` CTAs of a cluster, each with the logits [part * length, ...).
__global__ void __launch_bounds__(kThreads)
    argmax_kernel(const float* logits, int64_t vocab, int parts, int length, int32_t* tokens) {
  __shared__ Best best_of_warp[32];
  [[maybe_unused]] __shared__ Best best_of_part[kMostParts];
  [[maybe_unused]] __shared__ int finite_of_part[kMostParts];
  let_next_start();
  wait_for_inputs();
  const int part = static_cast<int>(blockIdx.x) % parts;
  const int64_t row = blockIdx.x / parts;
  const float* from = logits + row * vocab;
  const int begin = part * length, end = static_cast<int>(min(static_cast<int64_t>(begin) + length, vocab));
  Best best{-FLT_MAX, 0x7fffffff};
  bool finite = true;
  const auto look = [&](float logit, int i) {
    finite &= fabsf(logit) <= FLT_MAX;
    best.take(logit, i);
  };
  if (vocab % 4 == 0) {
#pragma unroll 4
    for (int i = begin + static_cast<int>(threadIdx.x) * 4; i < end; i += kThreads * 4) {
      const float4 four = *reinterpret_cast<const float4*>(from + i);
      look(four.x, i);
      look(four.y, i + 1);
      look(four.z, i + 2);
      look(four.w, i + 3);
    }
  } else {
#pragma unroll 4
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += kThreads) look(from[i], i);
  }
  const auto of_warp = [&] {
#pragma unroll
    for (int step = 16; step > 0; step /= 2)
      best.take(__shfl_xor_sync(0xffffffffu, best.logit, step), __shfl_xor_sync(0xffffffffu, best.token, step));
  };
  of_warp();
  if (threadIdx.x % 32 == 0) best_of_warp[threadIdx.x / 32] = best;
  bool all_finite = __syncthreads_and(finite);
  best = best_of_warp[threadIdx.x % 32];
  of_warp();
#if __CUDA_ARCH__ >= 900
  if (parts > 1) {
    const auto cluster = cooperative_groups::this_cluster();
    cluster.sync();  // all have started
    if (threadIdx.x == 0) {
      *cluster.map_shared_rank(&best_of_part[part], 0) = best;
      *cluster.map_shared_rank(&finite_of_part[part], 0) = all_finite;
    }
    cluster.sync();
    for (int other = 0; other < parts && part == 0; other++) {
      best.take(best_of_part[other].logit, best_of_part[other].token);
      all_finite &= finite_of_part[other] != 0;
    }
  }
#endif
  if (threadIdx.x == 0 && part == 0) tokens[row] = all_finite ? best.token : -1;
}

}  // namespace

void argmax(const float* logits, int64_t n_rows, int64_t vocab, int32_t* tokens, cudaStream_t stream) {
  constexpr int64_t kMostCtas = 1056, kLeastOfPart = 4 * kThreads;
  int64_t parts = 1;
  while (has_clusters() && parts < kMostParts && 2 * parts * n_rows <= kMostCtas && vocab / (2 * parts) >= kLeastOfPart)
    parts *= 2;
  const int64_t length = round_up(ceil_div(vocab, parts), 4);
  launch_in_clusters(argmax_kernel, dim3(static_cast<unsigned>(n_rows * parts)), kThreads, 0, static_cast<int>(parts),
                     stream, logits, vocab, static_cast<int>(parts), static_cast<int>(length), tokens);
}

}  // namespace trimeter::cuda
