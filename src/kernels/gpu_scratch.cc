#include "kernels/gpu_scratch.h"

#include <algorithm>

#include "base/integers.h"
#include "kernels/draw_rule.h"

namespace trimeter {

// Its scales by token and by row, and by block, are of compute capability 9.0, rows of values of 16 bytes, and so are
// rows of a block's scales for tokens.
int64_t gpu_lt_fp8_tokens(int64_t n, int64_t k, bool by_block, int compute_capability) {
  if (compute_capability < 90 || n % 16 != 0 || k % 16 != 0) return 0;
  return by_block ? 4 : 1;
}

bool gpu_fp8_by_block(int64_t n, int64_t k, int64_t n_tokens, int compute_capability) {
  constexpr int64_t kLeastWeights = int64_t{32} << 20;
  if (n_tokens <= kGpuFp8StreamTokens || n_tokens > kGpuFp8BlockTokens || n * k < kLeastWeights) return false;
  const int64_t tokens = gpu_lt_fp8_tokens(n, k, true, compute_capability);
  return tokens > 0 && n_tokens % tokens == 0;
}

int64_t gpu_token_scales(int64_t n_tokens, int64_t in) {
  if (n_tokens <= kGpuFp8StreamTokens) return n_tokens;
  return std::max(n_tokens, std::min(n_tokens, kGpuFp8BlockTokens) * ceil_div(in, 128));
}

// Partial results of rows that decode, (head_dim + 2) f32 for each head and split of a context; a prompt's rows have
// none.
int64_t gpu_attention_workspace_bytes(int64_t n_seqs, int64_t n_heads, int64_t head_dim) {
  return n_heads * std::min(kGpuAttentionCtas + n_seqs, kGpuMostSplits * n_seqs) * (head_dim + 2) *
         int64_t{sizeof(float)};
}

int64_t gpu_draw_bytes(int64_t n_seqs, int64_t vocab) {
  const int64_t of_row = sizeof(DrawRow) + sizeof(LogprobRow) + (kMostDrawLogprobs + 1) * sizeof(DrawLogprob);
  return n_seqs * (of_row + draw_seen_words(vocab) * int64_t{sizeof(uint32_t)});
}

}  // namespace trimeter
