#include "algorithms/activation_scale.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr float kInt8Max = 127, kInt8Min = -128;
constexpr int kRangeSteps = 80;

float largest_code(DType activation) {
  TM_CHECK(activation == DType::kF8E4M3 || activation == DType::kI8, "activations of {}", name(activation));
  return activation == DType::kF8E4M3 ? kE4M3Max : kInt8Max;
}

// x / scale to the grid and back.
float round_trip(float x, DType activation) {
  if (activation == DType::kF8E4M3) return e4m3_to_float(e4m3_from_float(x));
  return std::clamp(std::nearbyint(x), kInt8Min, kInt8Max);
}

float percentile_of(std::vector<float> magnitudes, double percentile) {
  TM_CHECK(percentile > 0 && percentile <= 100, "percentile {}", percentile);
  const double rank = std::ceil(percentile / 100 * static_cast<double>(magnitudes.size()));
  const auto at = magnitudes.begin() + (std::max<int64_t>(1, static_cast<int64_t>(rank)) - 1);
  std::nth_element(magnitudes.begin(), at, magnitudes.end());
  return *at;
}

double squared_error(const std::vector<float>& x, float scale, DType activation) {
  double sum = 0;
  for (const float v : x) {
    const double d = static_cast<double>(round_trip(v / scale, activation) * scale) - static_cast<double>(v);
    sum += d * d;
  }
  return sum;
}

float best_range(const std::vector<float>& x, float amax, DType activation) {
  float best = amax;
  double least = 0;
  for (int step = 0; step < kRangeSteps; ++step) {
    const float range = amax * static_cast<float>(1 - step / 100.0);
    const double error = squared_error(x, range / largest_code(activation), activation);
    if (step > 0 && error >= least) continue;
    least = error;
    best = range;
  }
  return best;
}

}  // namespace

float activation_scale(const InputStatistics& input, DType activation, const ActivationOptions& options) {
  TM_CHECK(input.n_tokens > 0, "no calibration tokens");
  const float amax = *std::max_element(input.amax.begin(), input.amax.end());
  float range = amax;
  if (options.range == ActivationOptions::Range::kPercentile) {
    std::vector<float> magnitudes = input.sample;
    for (float& v : magnitudes) v = std::fabs(v);
    range = percentile_of(std::move(magnitudes), options.percentile);
  } else if (options.range == ActivationOptions::Range::kMse && amax > 0) {
    range = best_range(input.sample, amax, activation);
  }
  return range > 0 ? range / largest_code(activation) : 1;
}

}  // namespace trimeter
