// cos and sin of every position, made once at load.
#pragma once
#include <cstdint>
#include <vector>

#include "spec/model_spec.h"
#include "tensor/buffer.h"

namespace trimeter {

// theta^(-2i / head_dim) for i in [0, head_dim / 2), scaled as rope_scaling says (transformers:
// modeling_rope_utils.py):
//   linear   all divided by factor
//   llama3   wavelengths above original_max / low_freq_factor divided by factor, below original_max / high_freq_factor
//            kept, linear in original_max / wavelength between
// Computed in double and rounded to float, as models are trained with float frequencies.
std::vector<float> rope_inverse_frequencies(const ModelSpec& spec);

class RopeTable {
 public:
  RopeTable(const ModelSpec& spec, int64_t n_positions);
  // [head_dim / 2] of one position. The angle is the float product position * frequency, as in training: in double it
  // would differ by 2^-24 of itself, which at position 10,000 is 6e-4 rad.
  const float* cos(int64_t position) const { return table_.as<float>() + position * half_; }
  const float* sin(int64_t position) const { return cos(n_positions_ + position); }
  int64_t n_positions() const { return n_positions_; }
  int64_t bytes() const { return table_.size(); }  // rope_table_bytes() of the ledger

 private:
  int64_t n_positions_, half_;
  Buffer table_;  // f32 [2][n_positions][half]
};

}  // namespace trimeter
