#include "schemes/integer_grid.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr float kLeastRange = 1e-5f, kF16Max = 65504.0f;

// {least, largest}: in lanes, since a compiler may not reorder comparisons of floats by itself.
std::pair<float, float> range_of(std::span<const float> values) {
  constexpr size_t kLanes = 8;
  float least[kLanes], largest[kLanes];
  std::ranges::fill(least, values[0]);
  std::ranges::fill(largest, values[0]);
  for (; values.size() >= kLanes; values = values.subspan(kLanes))
    for (size_t i = 0; i < kLanes; ++i) {
      least[i] = std::min(least[i], values[i]);
      largest[i] = std::max(largest[i], values[i]);
    }
  for (const float value : values) {
    least[0] = std::min(least[0], value);
    largest[0] = std::max(largest[0], value);
  }
  return {std::ranges::min(least), std::ranges::max(largest)};
}

}  // namespace

IntegerGrid::Point IntegerGrid::fit(std::span<const float> values, float shrink) const {
  const auto [least, largest] = range_of(values);
  const auto codes = static_cast<float>(max_code());
  const auto stored = [&](float range) {
    const float scale = std::clamp(range / codes, kLeastRange / codes, kF16Max);
    return f32_scales ? scale : f16_to_float(f16_from_float(scale));
  };
  if (!zero_points)
    return {stored(2 * shrink * std::max(std::fabs(least), std::fabs(largest))), static_cast<uint8_t>(middle())};
  const float low = shrink * std::min(least, 0.0f), high = shrink * std::max(largest, 0.0f);
  const float scale = stored(high - low);
  return {scale, static_cast<uint8_t>(std::clamp(-std::nearbyint(low / scale), 0.0f, codes))};
}

uint8_t IntegerGrid::code(float value, Point p) const {
  uint8_t code = 0;
  this->code({&value, 1}, p, &code);
  return code;
}

void IntegerGrid::code(std::span<const float> values, Point p, uint8_t* codes) const {
  // Beyond 2^23 a float has no fraction left: adding it rounds to an integer, ties to even, and vectorizes. Codes lie
  // far within the clamp.
  constexpr float kRounding = 1.5f * (1 << 23), kBeyond = 1 << 10;
  const auto zero = static_cast<float>(p.zero), largest = static_cast<float>(max_code());
  for (size_t i = 0; i < values.size(); ++i) {
    const float steps = std::clamp(values[i] / p.scale, -kBeyond, kBeyond);
    codes[i] = static_cast<uint8_t>(static_cast<int>(std::clamp(steps + kRounding - kRounding + zero, 0.0f, largest)));
  }
}

}  // namespace trimeter
