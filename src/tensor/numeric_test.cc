// Exhaustive over the codes, and over every float between two codes that decides a rounding.
#include "tensor/numeric.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace trimeter {
namespace {

// The nearest code by definition: smallest |x - value|, ties to the even code.
template <class Decode>
int nearest_code(float x, int n_codes, Decode decode) {
  int best = 0;
  for (int code = 1; code < n_codes; ++code) {
    const double old_gap = std::abs(double{x} - decode(best)), gap = std::abs(double{x} - decode(code));
    if (gap < old_gap || (gap == old_gap && code % 2 == 0)) best = code;
  }
  return best;
}

TEST(Numeric, E4M3IsTheTableOfTheSpec) {
  EXPECT_EQ(e4m3_to_float(0x00), 0.0f);
  EXPECT_EQ(e4m3_to_float(0x01), std::ldexp(1.0f, -9));
  EXPECT_EQ(e4m3_to_float(0x08), std::ldexp(1.0f, -6));
  EXPECT_EQ(e4m3_to_float(0x38), 1.0f);
  EXPECT_EQ(e4m3_to_float(0x7e), 448.0f);
  EXPECT_TRUE(std::isnan(e4m3_to_float(0x7f)));
  EXPECT_EQ(e4m3_to_float(0xb8), -1.0f);
}

TEST(Numeric, E4M3RoundTripsAndRoundsToNearestEven) {
  for (int code = 0; code < 0x7f; ++code) {
    const float value = e4m3_to_float(static_cast<uint8_t>(code));
    EXPECT_EQ(e4m3_from_float(value), code);
    EXPECT_EQ(e4m3_from_float(-value), code | 0x80);
    if (code == 0x7e) break;
    const float next = e4m3_to_float(static_cast<uint8_t>(code + 1)), middle = (value + next) / 2;
    for (const float x : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)})
      EXPECT_EQ(e4m3_from_float(x), nearest_code(x, 0x7f, [](int c) { return e4m3_to_float(static_cast<uint8_t>(c)); })) << x;
  }
  EXPECT_EQ(e4m3_from_float(1e9f), 0x7e);
  EXPECT_EQ(e4m3_from_float(-std::numeric_limits<float>::infinity()), 0xfe);
  EXPECT_EQ(e4m3_from_float(std::nanf("")) & 0x7f, 0x7f);
}

TEST(Numeric, HalfRoundTripsAndRoundsToNearestEven) {
  for (uint32_t code = 0; code <= 0xffff; ++code) {
    const float value = f16_to_float(static_cast<uint16_t>(code));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(f16_to_float(f16_from_float(value))));
      continue;
    }
    ASSERT_EQ(f16_from_float(value), code);
    if ((code & 0x7fff) >= 0x7bff) continue;
    const float next = f16_to_float(static_cast<uint16_t>(code + 1)), middle = value + (next - value) / 2;
    const uint32_t even = code % 2 == 0 ? code : code + 1;
    ASSERT_EQ(f16_from_float(middle), even);
    ASSERT_EQ(f16_from_float(std::nextafter(middle, value)), code);
    ASSERT_EQ(f16_from_float(std::nextafter(middle, next)), code + 1);
  }
  EXPECT_EQ(f16_from_float(65519.9f), 0x7bff);
  EXPECT_EQ(f16_from_float(65520.0f), 0x7c00);
}

TEST(Numeric, BfloatRoundTripsAndRoundsToNearestEven) {
  for (uint32_t code = 0; code <= 0xffff; ++code) {
    const float value = bf16_to_float(static_cast<uint16_t>(code));
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(bf16_to_float(bf16_from_float(value))));
      continue;
    }
    ASSERT_EQ(bf16_from_float(value), code);
    if ((code & 0x7fff) >= 0x7f7f) continue;
    const float middle = float_from_bits((code << 16) | 0x8000u);
    ASSERT_EQ(bf16_from_float(middle), code % 2 == 0 ? code : code + 1);
    ASSERT_EQ(bf16_from_float(float_from_bits((code << 16) | 0x7fffu)), code);
    ASSERT_EQ(bf16_from_float(float_from_bits((code << 16) | 0x8001u)), code + 1);
  }
}

}  // namespace
}  // namespace trimeter
