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
  // What the kernel multiplies: the form, its static scale and its order; the caller adds the rest.
  virtual DeviceInput input() const = 0;
  // y[t, row] (+)= x w^T + bias, f32; bias may be null. workspace: kernels/cuda/matmul.h.
  virtual void multiply(const DeviceInput& x, const float* bias, bool accumulate, float* y, int64_t ldy,
                        void* workspace, int64_t workspace_bytes, cudaStream_t stream) const = 0;
  // [out, in] row-major, of 16- and 32-bit floats; nullptr for others. What an embedding reads that is tied to it.
  virtual const void* rows() const = 0;
};

// From canonical form, which may be gone when this returns, into the arena. Throws Error(kUnsupported) for what
// gpu_refuses.
std::unique_ptr<DeviceLinear> upload_linear(const Scheme& scheme, const CanonicalWeight& weight, int compute_capability,
                                            cudaStream_t stream, DeviceArena& arena);

}  // namespace trimeter::cuda
