#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "schemes/kernel_test.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

const Scheme& int4() { return scheme("int4_g128_zp"); }

DenseRows rows(const std::vector<float>& values, int64_t n_rows) {
  return {reinterpret_cast<const std::byte*>(values.data()), DType::kF32, n_rows};
}

// Every code at every k with every zero point; scales are powers of two, so every product is exact.
TEST(Int4G128Zp, EveryCodeDecodesExactlyOnEveryIsa) {
  const MatShape shape{256, 256};
  CanonicalWeight weight;
  weight.shape = shape;
  for (int64_t i = 0; i < shape.out; ++i) {
    for (int64_t k = 0; k < shape.in; ++k) weight.codes.push_back(static_cast<uint8_t>((i + k) % 16));
    for (int64_t g = 0; g < 2; ++g) {
      weight.zeros.push_back(static_cast<uint8_t>((i / 16 + 5 * g) % 16));
      weight.scales.push_back(std::ldexp(1.0f, static_cast<int>(i % 7 - 3 - g)));
    }
  }
  ThreadPool pool(2);
  const PackedWeight packed = int4().pack(weight, pool);
  const std::vector<float> w = int4().dequantize(weight);
  for (const Isa isa : runnable_isas()) {
    const std::vector<float> y = multiply_all(int4(), packed, diagonal(shape.in, 1), shape.in, isa);
    for (int64_t k = 0; k < shape.in; ++k)
      for (int64_t i = 0; i < shape.out; ++i) {
        const int64_t group = i * 2 + k / 128;
        const float want =
            static_cast<float>(weight.codes[i * shape.in + k] - weight.zeros[group]) * weight.scales[group];
        ASSERT_EQ(w[i * shape.in + k], want);
        ASSERT_EQ(y[k * shape.out + i], want) << name(isa) << " row " << i << " k " << k;
      }
  }
}

TEST(Int4G128Zp, TheGridOfAGroupIsMinMax) {
  std::vector<float> values(128, 0.0f);
  values[3] = -1.0f;
  values[9] = 2.0f;
  values[11] = 0.5f;
  const CanonicalWeight weight = int4().quantize_rtn(std::vector{rows(values, 1)}, {1, 128});
  EXPECT_EQ(weight.scales[0], f16_to_float(f16_from_float(3.0f / 15)));
  EXPECT_EQ(weight.zeros[0], 5);
  EXPECT_EQ(weight.codes[0], 5);
  EXPECT_EQ(weight.codes[3], 0);
  EXPECT_EQ(weight.codes[9], 15);
  EXPECT_EQ(weight.codes[11], 8);  // 2.5 steps above zero, in fp16 a little less than 2.5003
}

// Half a step inside the range; at its ends the zero point's own rounding adds half a step, and the scale's rounding to
// fp16 15 * 2^-11 of a step. Too good is a bug as well: the mean of a uniform error is a quarter of a step.
TEST(Int4G128Zp, QuantizationErrorIsBoundedFromBothSides) {
  std::vector<float> values;
  for (int i = 0; i < 4 * 256; ++i) values.push_back(std::sin(static_cast<float>(i) * 1.7f) * 0.3f + 0.1f);
  const CanonicalWeight weight = int4().quantize_rtn(std::vector{rows(values, 4)}, {4, 256});
  const std::vector<float> decoded = int4().dequantize(weight);
  double mean = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double error = std::fabs(double{decoded[i]} - values[i]) / weight.scales[i / 128];
    ASSERT_LE(error, 1 + 15 * 0x1p-11);
    mean += error / static_cast<double>(values.size());
  }
  EXPECT_GT(mean, 0.2);
  EXPECT_LT(mean, 0.3);
}

// A range that leaves out zero is widened to it; otherwise the clamped zero point would cut the values off.
TEST(Int4G128Zp, GroupsOfOneSignAndConstantGroupsAreHeld) {
  for (const float value : {0.5f, -0.5f, 1e-3f, 0.0f}) {
    const std::vector<float> values(128, value);
    const CanonicalWeight weight = int4().quantize_rtn(std::vector{rows(values, 1)}, {1, 128});
    for (const float decoded : int4().dequantize(weight)) ASSERT_NEAR(decoded, value, std::fabs(value) * 0x1p-10);
  }
}

TEST(Int4G128Zp, RefusesAWidthThatIsNotWholeGroups) {
  EXPECT_NE(int4().refuses({16, 900}).find("in = 900 is not a multiple of the group size 128"), std::string::npos);
  const std::vector<float> values(900);
  EXPECT_THROW(int4().quantize_rtn(std::vector{rows(values, 1)}, {1, 900}), Error);
  std::vector<float> bad(128);
  bad[5] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THROW(int4().quantize_rtn(std::vector{rows(bad, 1)}, {1, 128}), Error);
}

TEST(Int4G128Zp, BytesAreHalfAWeightAndTwoAndAHalfPerGroup) {
  const WeightBytes bytes = int4().bytes({64, 256});
  EXPECT_EQ(bytes.values, 64 * 256 / 2);
  EXPECT_EQ(bytes.scales, 64 * 2 * 5 / 2);
}

}  // namespace
}  // namespace trimeter
