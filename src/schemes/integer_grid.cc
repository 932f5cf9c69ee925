#include "schemes/integer_grid.h"

#include <algorithm>
#include <cmath>

#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr float kLeastRange = 1e-5f, kF16Max = 65504.0f;

}  // namespace

IntegerGrid::Point IntegerGrid::fit(std::span<const float> values, float shrink) const {
  const auto [least, largest] = std::ranges::minmax(values);
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
  return static_cast<uint8_t>(
      std::clamp(std::nearbyint(value / p.scale) + static_cast<float>(p.zero), 0.0f, static_cast<float>(max_code())));
}

}  // namespace trimeter
