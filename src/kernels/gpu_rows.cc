#include "kernels/gpu_rows.h"

namespace trimeter {
namespace {

constexpr int64_t kSharingBytes = 16 << 20;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

int64_t gpu_rows_waited_for(int64_t n, int64_t rows_of_block, int64_t n_multiprocessors) {
  return ceil_div(ceil_div(n, rows_of_block), n_multiprocessors) * n_multiprocessors * rows_of_block;
}

bool gpu_blocks_stay_whole(int64_t n, int64_t rows_of_block, int64_t row_bytes, int64_t n_multiprocessors) {
  if (ceil_div(n, rows_of_block) <= n_multiprocessors) return false;
  return (gpu_rows_waited_for(n, rows_of_block, n_multiprocessors) - n) * row_bytes <= kSharingBytes;
}

}  // namespace trimeter
