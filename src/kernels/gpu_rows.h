// How a product of few tokens divides its rows among a card's multiprocessors, without CUDA: the launchers of
// kernels/cuda go by it, and the cost model predicts what it costs.
#pragma once
#include <cstdint>

namespace trimeter {

// Of kernels/cuda/int4_matmul.cuh, which takes these: rows of a block, which is one CTA's. With more tokens than 4 the
// input's way into every CTA weighs more than what smaller weights gain.
inline constexpr int64_t kGpuInt4Rows = 32;
constexpr bool gpu_int4_takes(int64_t n, int64_t k, int64_t n_tokens) {
  return n_tokens <= 4 || (n_tokens <= 8 && n * k >= int64_t{32} << 20);
}

// Of kernels/cuda/stream_matmul.cuh where a CTA's warps share the k's: rows of a block, of up to 16 tokens.
constexpr int64_t gpu_deep_rows(int64_t n_tokens) { return n_tokens <= 8 ? 16 : 32; }
// Weights that are widened are divided so with 9 to 16 tokens if they are small.
constexpr bool gpu_is_small(int64_t n, int64_t k) { return k <= 8192 && n * k <= int64_t{8192} * 8192; }

// As many rows as all multiprocessors could have had in the time that the busiest one needs for its blocks; at least n.
int64_t gpu_rows_waited_for(int64_t n, int64_t rows_of_block, int64_t n_multiprocessors);

// Whether each of these blocks is one CTA's, which every multiprocessor has one of at least; else all of them are
// divided evenly, and the CTAs of a block put their sums together.
bool gpu_blocks_stay_whole(int64_t n, int64_t rows_of_block, int64_t n_multiprocessors);

}  // namespace trimeter
