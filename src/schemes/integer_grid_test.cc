#include "schemes/integer_grid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace trimeter {
namespace {

TEST(IntegerGrid, SymmetricCodesReachTheLargestMagnitudeWithinHalfAStep) {
  const std::vector<float> values = {-3.0f, 0.5f, 0.0f, 3.0f, 1.25f};
  for (const int bits : {4, 8}) {
    const IntegerGrid grid{.bits = bits, .zero_points = false, .group_size = 0};
    const IntegerGrid::Point p = grid.fit(values);
    EXPECT_EQ(p.zero, 1 << (bits - 1));
    EXPECT_NEAR(p.scale, 6.0f / static_cast<float>(grid.max_code()), p.scale * 0x1p-11f);  // fp16
    EXPECT_EQ(grid.code(-100, p), 0);
    EXPECT_EQ(grid.code(100, p), grid.max_code());
    EXPECT_EQ(grid.value(grid.code(0, p), p), 0.0f);
    for (const float value : values)
      EXPECT_LE(std::fabs(grid.value(grid.code(value, p), p) - value), 0.51f * p.scale) << bits << " bits, " << value;
  }
}

TEST(IntegerGrid, ZeroPointsHoldZeroAndFollowTheRange) {
  const IntegerGrid grid{.bits = 4, .zero_points = true, .group_size = 128};
  const IntegerGrid::Point below = grid.fit(std::vector<float>{-3, -1, -2});  // widened to [-3, 0]
  EXPECT_EQ(below.zero, 15);
  EXPECT_NEAR(below.scale, 0.2f, 0.2f * 0x1p-11f);
  EXPECT_EQ(grid.value(grid.code(0, below), below), 0.0f);
  const IntegerGrid::Point shrunk = grid.fit(std::vector<float>{-3, 3}, 0.5f);
  EXPECT_NEAR(shrunk.scale, 0.2f, 0.2f * 0x1p-11f);
  EXPECT_EQ(grid.code(3, shrunk), 15);
}

TEST(IntegerGrid, AGroupOfZerosHasAScale) {
  const std::vector<float> zeros(8);
  for (const bool zero_points : {false, true}) {
    const IntegerGrid grid{.bits = 4, .zero_points = zero_points, .group_size = 8};
    const IntegerGrid::Point p = grid.fit(zeros);
    EXPECT_GT(p.scale, 0);
    EXPECT_EQ(grid.value(grid.code(0, p), p), 0.0f);
  }
}

TEST(IntegerGrid, CodesAreTheNearestTiesToEven) {
  std::vector<float> values = {-1e30f, 1e30f};
  for (int eighth = -3000; eighth <= 3000; ++eighth) values.push_back(static_cast<float>(eighth) / 8);
  for (const int bits : {4, 8}) {
    const IntegerGrid grid{.bits = bits, .zero_points = true, .group_size = 0};
    for (const int zero : {0, 7, 15}) {
      const IntegerGrid::Point p{.scale = 0.5f, .zero = static_cast<uint8_t>(zero)};
      std::vector<uint8_t> codes(values.size());
      grid.code(values, p, codes.data());
      for (size_t i = 0; i < values.size(); ++i)
        ASSERT_EQ(codes[i], std::clamp<double>(std::nearbyint(2.0 * values[i]) + zero, 0, grid.max_code()))
            << values[i];
    }
  }
}

TEST(IntegerGrid, TheRangeIsThatOfEveryValue) {
  const IntegerGrid grid{.bits = 4, .zero_points = true, .group_size = 0, .f32_scales = true};
  for (size_t at = 0; at < 19; ++at) {
    std::vector<float> values(19);
    values[at] = 10;
    values[18 - at] -= 5;
    const float high = at == 9 ? 5 : 10, low = at == 9 ? 0 : -5;
    EXPECT_FLOAT_EQ(grid.fit(values).scale, (high - low) / 15) << at;
  }
}

TEST(IntegerGrid, CodingIsIdempotent) {
  for (const bool zero_points : {false, true}) {
    const IntegerGrid grid{.bits = 4, .zero_points = zero_points, .group_size = 4};
    const IntegerGrid::Point p = grid.fit(std::vector<float>{-0.7f, 0.1f, 0.9f, 0.33f});
    for (int code = 0; code <= grid.max_code(); ++code)
      EXPECT_EQ(grid.code(grid.value(static_cast<uint8_t>(code), p), p), code);
  }
}

}  // namespace
}  // namespace trimeter
