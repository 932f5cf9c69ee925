#include "kernels/gpu_rows.h"

#include "base/integers.h"

namespace trimeter {

int64_t gpu_rows_waited_for(int64_t n, int64_t rows_of_block, int64_t n_multiprocessors) {
  return ceil_div(ceil_div(n, rows_of_block), n_multiprocessors) * n_multiprocessors * rows_of_block;
}

bool gpu_blocks_stay_whole(int64_t n, int64_t rows_of_block, int64_t n_multiprocessors) {
  return ceil_div(n, rows_of_block) > n_multiprocessors;
}

}  // namespace trimeter
