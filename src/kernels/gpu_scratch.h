// Scratch that the operations of kernels/cuda/ops.h take, without CUDA: the ledger asks for cards that are not here.
#pragma once
#include <cstdint>

namespace trimeter {

// Products share what follows the counters, which are 0 between any two of them; attention takes what follows them.
inline constexpr int64_t kGpuMatmulCounterBytes = int64_t{64} << 10;
inline constexpr int64_t kGpuMatmulWorkspaceBytes = int64_t{64} << 20;

// Of what numbers of tokens cuBLASLt multiplies e4m3 with e4m3, [n, k]: the multiples of this, or none if it is 0.
// by_block: scales of 128 x 128 and of 128 inputs. Others are streamed, kGpuFp8StreamTokens at a time.
int64_t gpu_lt_fp8_tokens(int64_t n, int64_t k, bool by_block, int compute_capability);
inline constexpr int64_t kGpuFp8StreamTokens = 32;

// Scales of e4m3 that are the same in all of a block of 128 rows may be given to cuBLASLt by row, or by 128 x 128 with
// those of tokens repeated for each 128 inputs: the same products. Whether its kernel by block is the faster one: with
// 33 to kGpuFp8BlockTokens tokens (by row with more of them) and large weights.
inline constexpr int64_t kGpuFp8BlockTokens = 64;
bool gpu_fp8_by_block(int64_t n, int64_t k, int64_t n_tokens, int compute_capability);
// f32 of up to n_tokens tokens with a scale each: once, and where gpu_fp8_by_block() may say so for each 128 inputs.
int64_t gpu_token_scales(int64_t n_tokens, int64_t in);

// Thread blocks that splits of a context are made for: 4 on each of 132 multiprocessors.
inline constexpr int64_t kGpuAttentionCtas = 528;
inline constexpr int64_t kGpuMostSplits = 64;
// Fewer tokens of a split would take less time than merging it does.
inline constexpr int64_t kGpuLeastSplitTokens = 256;
// attention: of a step of at most n_seqs sequences.
int64_t gpu_attention_workspace_bytes(int64_t n_seqs, int64_t n_heads, int64_t head_dim);

// Of the tokens that a step draws for at most n_seqs rows, of kernels/draw_rule.h: DrawRow and LogprobRow of each, then
// the logprobs, then the bits of penalised tokens.
int64_t gpu_draw_bytes(int64_t n_seqs, int64_t vocab);

}  // namespace trimeter
