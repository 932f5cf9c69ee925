// The launcher of wgmma_matmul.cuh's kernels.
#pragma once
#include "kernels/cuda/matmul.h"

namespace trimeter::cuda {

// kernels/gpu_rows.h: gpu_wgmma_takes(), of the current card.
bool wgmma_matmul_takes(const DeviceMatrix& w, int64_t n_tokens);
void wgmma_matmul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, bool accumulate, float* y,
                  int64_t ldy, void* workspace, cudaStream_t stream);
// Partial sums and counters.
int64_t wgmma_workspace_bytes();

}  // namespace trimeter::cuda
