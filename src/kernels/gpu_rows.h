// How a product of few tokens divides its rows among a card's multiprocessors, without CUDA: the launchers of
// kernels/cuda go by it, and the cost model counts what it costs, or finds it in measured rates (wgmma_matmul.cuh's).
#pragma once
#include <array>
#include <cstdint>

namespace trimeter {

// Shared memory that a CTA can have.
constexpr int64_t gpu_shared_bytes(int compute_capability) {
  if (compute_capability >= 90) return 232448;
  return compute_capability == 80 || compute_capability == 87 ? 166912 : 101376;
}

// kernels/cuda/int4_matmul.cuh: rows of a block, which is one CTA's; what it needs of shared memory, ring, sums and
// input; and whether it is the kernel for a product. With more tokens than 4 the input's way into every CTA weighs more
// than what smaller weights gain. is_small: groups that are no multiple of 128.
inline constexpr int64_t kGpuInt4Rows = 32;
constexpr int64_t gpu_int4_shared_bytes(int64_t k, int64_t n_tokens, bool zeros, bool is_small) {
  constexpr int64_t kWarps = 15;
  const int64_t tokens = n_tokens == 1 ? 1 : n_tokens <= 4 ? 4 : 8, stages = tokens == 1 ? 4 : 3;
  const int64_t units = (k + 127) / 128, groups = is_small ? 4 : 1;
  const int64_t ring = kWarps * stages * (2048 + groups * (zeros ? 80 : 64));
  const int64_t sums = 2 * kWarps * (tokens * (kGpuInt4Rows + 4) + 8) * 4;
  return (ring + 32 + sums + 127) / 128 * 128 + units * tokens * (256 + groups * 8);
}
constexpr bool gpu_int4_takes(int64_t n, int64_t k, int64_t n_tokens, bool zeros, bool is_small, int64_t shared_bytes) {
  if (n_tokens > 8 || (n_tokens > 4 && n * k < int64_t{32} << 20)) return false;
  return gpu_int4_shared_bytes(k, n_tokens, zeros, is_small) <= shared_bytes;
}

// Of kernels/cuda/stream_matmul.cuh where a CTA's warps share the k's: rows of a block, of up to 16 tokens.
constexpr int64_t gpu_deep_rows(int64_t n_tokens) { return n_tokens <= 8 ? 16 : 32; }
// Weights that are widened are divided so with 9 to 16 tokens if they are small.
constexpr bool gpu_is_small(int64_t n, int64_t k) { return k <= 8192 && n * k <= int64_t{8192} * 8192; }

// kernels/cuda/wgmma_matmul.cuh, of compute capability 9.0: whether it is the kernel for a product of 4-bit weights.
// Up to 16 tokens stream_matmul.cuh is ahead where weights are large.
constexpr bool gpu_wgmma_takes(int64_t n, int64_t k, int64_t n_tokens, int compute_capability) {
  if (compute_capability != 90 || n_tokens > 128) return false;
  return n_tokens > 16 || (n_tokens > 8 && n * k <= int64_t{32} << 20);
}
// How it divides the work: blocks of so many rows, a cluster of CTAs for each; is_shared: all of it evenly among one
// CTA a multiprocessor, each with a block at least. The one that takes least by what its parts took on an H200 with 64
// tokens, in units of 128 k's of 256 rows; with fewer tokens a unit takes less, and so does the rest.
struct GpuWgmmaDivision {
  int64_t rows = 256, cluster = 1;
  bool is_shared = false;
  bool operator==(const GpuWgmmaDivision&) const = default;
};
using GpuClusters = std::array<int64_t, 9>;  // [CTAs of a cluster], of 2 to 8: how many run at once
GpuWgmmaDivision gpu_wgmma_division(int64_t n, int64_t k, int64_t n_tokens, int64_t n_multiprocessors,
                                    const GpuClusters& at_once);

// Wave quantization: as many rows as all multiprocessors could have had in the time that the busiest one needs for its
// blocks; at least n.
int64_t gpu_rows_waited_for(int64_t n, int64_t rows_of_block, int64_t n_multiprocessors);

// Whether each of these blocks is one CTA's, which every multiprocessor has one of at least; else all of them are
// divided evenly, and the CTAs of a block put their sums together.
bool gpu_blocks_stay_whole(int64_t n, int64_t rows_of_block, int64_t n_multiprocessors);

}  // namespace trimeter
