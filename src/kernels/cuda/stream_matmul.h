// The launcher of stream_matmul.cuh's kernels.
#pragma once
#include "kernels/cuda/matmul.h"

namespace trimeter::cuda {

// Of one launch: up to them this kernel is the faster one.
int64_t stream_tokens(WeightForm form);
// More tokens than stream_tokens() pass the weight several times.
void stream_matmul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, bool accumulate, float* y,
                   int64_t ldy, const SiluMul& silu, void* workspace, cudaStream_t stream);
// Whether the kernel for one token has all of it, up to kMostRawInputs, in shared memory, which it then may as well
// fill itself.
bool stream_takes_raw(const DeviceMatrix& w);
bool stream_makes_silu_mul(const DeviceMatrix& w, int64_t n_tokens);
// Partial sums and counters.
int64_t stream_workspace_bytes(int64_t n_tokens);

}  // namespace trimeter::cuda
