// The launcher of int4_matmul.cuh's kernels.
#pragma once
#include "kernels/cuda/matmul.h"

namespace trimeter::cuda {

// Whether it is the faster kernel for so many tokens, and the current card has the shared memory.
bool int4_matmul_takes(const DeviceMatrix& w, int64_t n_tokens);
void int4_matmul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, bool accumulate, float* y, int64_t ldy,
                 const SiluMul& silu, cudaStream_t stream);

}  // namespace trimeter::cuda
