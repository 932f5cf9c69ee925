// A linear's weight on a card, in the form of its kernel.
#pragma once
#include <memory>

#include "base/cuda/cuda.h"
#include "kernels/cuda/ops.h"
#include "schemes/scheme.h"

namespace trimeter::cuda {

class DeviceLinear {
 public:
  virtual ~DeviceLinear() = default;
  virtual MatShape shape() const = 0;
  virtual WeightBytes bytes() const = 0;  // counted from the device's buffers
  // What the kernel multiplies of this many tokens; the caller adds where values and scales are to lie.
  virtual DeviceInput input(int64_t n_tokens) const = 0;
  // Whether multiply() takes this input's one token raw.
  virtual bool takes_raw(const DeviceInput& x) const = 0;
  // y[t, row] (+)= x w^T + bias, f32; bias may be null. workspace: kernels/cuda/matmul.h.
  virtual void multiply(const DeviceInput& x, const float* bias, bool accumulate, float* y, int64_t ldy,
                        void* workspace, int64_t workspace_bytes, cudaStream_t stream) const = 0;
  // Of gate and up, silu(gate) * up, where makes_silu_mul says so: kernels/cuda/matmul.h.
  virtual bool makes_silu_mul(int64_t n_tokens, const DeviceInput& made) const = 0;
  virtual void multiply_silu_mul(const DeviceInput& x, const float* bias, const DeviceInput& made, void* workspace,
                                 int64_t workspace_bytes, cudaStream_t stream) const = 0;
  // [out, in] row-major, of 16- and 32-bit floats; nullptr for others. What an embedding reads that is tied to it.
  virtual const void* rows() const = 0;
};

// From canonical form, which may be gone when this returns, into the arena. Throws Error(kUnsupported) for what
// gpu_refuses.
std::unique_ptr<DeviceLinear> upload_linear(const Scheme& scheme, const CanonicalWeight& weight, int compute_capability,
                                            cudaStream_t stream, DeviceArena& arena);

}  // namespace trimeter::cuda
