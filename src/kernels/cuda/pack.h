// Weight-only forms back to floats.
#pragma once
#include "kernels/cuda/matmul.h"

namespace trimeter::cuda {

// Rows [first_row, first_row + n_rows) of kE4M3Wide, kI8Wide or kI4 to bf16 [n_rows][k], rounded once. k is a multiple
// of 8.
void widen_rows(const DeviceMatrix& w, int64_t first_row, int64_t n_rows, void* to, cudaStream_t stream);

}  // namespace trimeter::cuda
