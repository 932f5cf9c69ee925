// Weights, caches and steps of no model in particular.
#pragma once
#include <vector>

#include "kernels/cuda/ops.h"
#include "model/cuda/device_weights.h"

namespace trimeter::cuda {

DeviceBuffer filled(int64_t bytes, int value, const Stream& stream);
// Bytes of 0x3c are small numbers in every dtype.
DeviceBuffer numbers(int64_t bytes, const Stream& stream);

// Random values; as many rows as a block of scales has are made, and repeated: `out` is a multiple of 128.
CanonicalWeight random_weight(const Scheme& scheme, MatShape shape);

// Sequences of n_new rows behind n_context tokens, their blocks in order; behind them, where decoding may come to, the
// first block again.
class ProbeStep {
 public:
  static constexpr int64_t kBlockSize = 16;
  ProbeStep(int64_t n_seqs, int64_t n_new, int64_t n_context, const Stream& stream);
  const StepView& view() const { return view_; }
  int64_t n_blocks() const { return n_blocks_; }

 private:
  DeviceBuffer inputs_;
  StepView view_;
  int64_t n_blocks_ = 0;
};

// bf16's format with another scheme in the layers.
Format format_of_scheme(std::string_view scheme);

// Each linear is made once and uploaded for every layer. with_biases: Qwen2's, of q, k and v.
DeviceWeights random_model(const ModelSpec& spec, const Format& format, int compute_capability, bool with_biases,
                           const Stream& stream);

}  // namespace trimeter::cuda
