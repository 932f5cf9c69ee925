#include "kernels/gpu_scratch.h"

#include <algorithm>

namespace trimeter {

// Partial results of rows that decode, (head_dim + 2) f32 for each head and split of a context; a prompt's rows have
// none.
int64_t gpu_attention_workspace_bytes(int64_t n_seqs, int64_t n_heads, int64_t head_dim) {
  constexpr int64_t kMostSplits = 64;
  return n_heads * std::min(kGpuAttentionCtas + n_seqs, kMostSplits * n_seqs) * (head_dim + 2) * int64_t{sizeof(float)};
}

}  // namespace trimeter
