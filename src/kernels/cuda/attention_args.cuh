// What the attention kernels share.
#pragma once
#include "kernels/cuda/kv_access.cuh"
#include "kernels/gpu_scratch.h"

namespace trimeter::cuda {

struct AttentionArgs {
  const float* qkv;
  float* out;
  StepView step;
  CacheView cache;
  int n_heads, group;  // query heads, of a KV head
  float scale;         // of scores: log2(e) / sqrt(head_dim), softmax is in powers of two
  int n_splits;
  float *partial_out, *partial_stats;  // [seq][head][split][head_dim], [...][2]: maximum and sum
  unsigned* arrived;                   // splits that are done, [seq][group of heads]: 0 between launches
  // What the decode kernel makes of its rows: [n_rows, n_heads * head_dim] of a form without scales.
  InputForm form;
  void* made;
  // Of rope, [position][head_dim / 2], if the decode kernel is to rotate q and k and to write k and v to the cache;
  // null if that is done.
  const float *cos, *sin;

  __device__ const float* q(int64_t row, int head) const {
    return qkv + (row * (n_heads + 2 * cache.n_kv_heads) + head) * cache.head_dim;
  }
  __device__ const int32_t* table(int seq) const { return step.block_tables + seq * step.table_stride; }
};

// A sequence with one row is a decode kernel's, one with more a prefill kernel's.
__device__ __forceinline__ int rows_of(const StepView& step, int seq) {
  return step.row_begin[seq + 1] - step.row_begin[seq];
}

inline constexpr float kLog2E = 1.4426950408889634f;

inline constexpr int kMostSplits = static_cast<int>(kGpuMostSplits);
inline constexpr int kDecodeHeads = 8;  // query heads of a CTA of the decode kernel
void launch_decode(const AttentionArgs& args, DType dtype, cudaStream_t stream);
void launch_prefill(const AttentionArgs& args, DType dtype, cudaStream_t stream);
void launch_plain(const AttentionArgs& args, DType dtype, cudaStream_t stream);

}  // namespace trimeter::cuda
