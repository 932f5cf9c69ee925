#include "model/rope_table.h"

#include <cmath>
#include <numbers>

namespace trimeter {
namespace {

double llama3_frequency(double frequency, const RopeScaling& scaling) {
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double turns = static_cast<double>(scaling.original_max_position_embeddings) / wavelength;
  if (turns < scaling.low_freq_factor) return frequency / scaling.factor;
  if (turns > scaling.high_freq_factor) return frequency;
  const double keep = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1 - keep) * frequency / scaling.factor + keep * frequency;
}

double scaled_frequency(double frequency, const RopeScaling& scaling) {
  if (scaling.type == "linear") return frequency / scaling.factor;
  if (scaling.type == "llama3") return llama3_frequency(frequency, scaling);
  return frequency;
}

}  // namespace

std::vector<float> rope_inverse_frequencies(const ModelSpec& spec) {
  std::vector<float> frequencies(static_cast<size_t>(spec.head_dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(spec.head_dim);
    frequencies[i] = static_cast<float>(scaled_frequency(std::pow(spec.rope_theta, -exponent), spec.rope_scaling));
  }
  return frequencies;
}

RopeTable::RopeTable(const ModelSpec& spec, int64_t n_positions)
    : n_positions_(n_positions),
      half_(spec.head_dim / 2),
      table_(2 * n_positions * half_ * int64_t{sizeof(float)}, "rope table") {
  const std::vector<float> frequencies = rope_inverse_frequencies(spec);
  float* cos_at = table_.as<float>();
  float* sin_at = cos_at + n_positions * half_;
  for (int64_t position = 0; position < n_positions; ++position)
    for (const float frequency : frequencies) {
      const float angle = static_cast<float>(position) * frequency;
      *cos_at++ = static_cast<float>(std::cos(static_cast<double>(angle)));
      *sin_at++ = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
}

}  // namespace trimeter
