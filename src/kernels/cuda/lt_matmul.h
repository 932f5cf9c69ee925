// Products that cuBLASLt does: plain rows of fp32, 16-bit, e4m3 and int8.
#pragma once
#include "kernels/cuda/matmul.h"

namespace trimeter::cuda {

inline constexpr int64_t kLtWorkspaceBytes = 32 << 20;
// y (+)= x w^T in f32. fp32 is multiplied without TF32. e4m3 wants scales of rows [n] and tokens [n_tokens], or
// kBlock128 with kE4M3Group128; both are modes of compute capability 9.0 and above. int8 comes out as int32 in
// `integers` [n_tokens, n], unscaled. False, and nothing put into the stream, where cuBLASLt has no algorithm for these
// shapes on this card.
bool lt_matmul(const DeviceMatrix& w, const DeviceInput& x, bool accumulate, float* y, int64_t ldy, int32_t* integers,
               void* workspace, cudaStream_t stream);

// Whether it has one for x.n_tokens; of `x` the form and, for e4m3, any device pointer as scales.
bool lt_multiplies(const DeviceMatrix& w, const DeviceInput& x);

}  // namespace trimeter::cuda
