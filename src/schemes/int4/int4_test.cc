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

std::vector<const Scheme*> family() {
  std::vector<const Scheme*> schemes;
  for (const Scheme* s : all_schemes())
    if (s->info().name.starts_with("int4_")) schemes.push_back(s);
  return schemes;
}

// Every code at every k with every zero point; scales use all of their dtype's mantissa, and exponents that the other
// 16-bit dtype lacks. A code times such a scale is a float, so every product is exact. Groups alternate, if they may.
CanonicalWeight all_codes(const SchemeInfo& info, DType scale_dtype) {
  const MatShape shape{256, 256};
  CanonicalWeight weight;
  weight.shape = shape;
  weight.scale_dtype = scale_dtype;
  const int64_t n_groups = info.group_size > 0 ? shape.in / info.group_size : 1;
  for (int64_t i = 0; i < shape.out; ++i) {
    for (int64_t k = 0; k < shape.in; ++k) weight.codes.push_back(static_cast<uint8_t>((i + k) % 16));
    for (int64_t g = 0; g < n_groups; ++g) {
      const auto mantissa = static_cast<uint16_t>(i * 41 + g * 7);
      if (info.grid->zero_points) weight.zeros.push_back(static_cast<uint8_t>((i / 16 + 5 * g) % 16));
      weight.scales.push_back(scale_dtype == DType::kBF16
                                  ? bf16_to_float(static_cast<uint16_t>((100 + i % 40) << 7 | mantissa % 128))
                                  : f16_to_float(static_cast<uint16_t>((i % 25 + 1) << 10 | mantissa % 1024)));
    }
  }
  if (info.name.ends_with("_order"))
    for (int64_t k = 0; k < shape.in; ++k) weight.group_of_input.push_back(static_cast<int32_t>(k % n_groups));
  return weight;
}

TEST(Int4, EveryCodeDecodesExactlyOnEveryIsa) {
  ThreadPool pool(2);
  for (const Scheme* scheme : family())
    for (const DType scale_dtype : {DType::kF16, DType::kBF16}) {
      const SchemeInfo& info = scheme->info();
      const CanonicalWeight weight = all_codes(info, scale_dtype);
      const auto [out, in] = weight.shape;
      const PackedWeight packed = scheme->pack(weight, pool);
      const std::vector<float> w = scheme->dequantize(weight);
      const int64_t group_size = info.group_size > 0 ? info.group_size : in;
      for (const Isa isa : runnable_isas()) {
        const std::vector<float> y = multiply_all(*scheme, packed, diagonal(in, 1), in, isa);
        for (int64_t k = 0; k < in; ++k)
          for (int64_t i = 0; i < out; ++i) {
            const int64_t g = weight.group_of_input.empty() ? k / group_size : weight.group_of_input[k];
            const int64_t group = i * (in / group_size) + g;
            const int zero = info.grid->zero_points ? weight.zeros[group] : 8;
            const float want = static_cast<float>(weight.codes[i * in + k] - zero) * weight.scales[group];
            ASSERT_EQ(w[i * in + k], want);
            ASSERT_EQ(y[k * out + i], want) << info.name << " " << name(isa) << " row " << i << " k " << k;
          }
      }
    }
}

// A weight in act-order is the one whose columns lie sorted by group, with the inputs sorted likewise: the same bits.
TEST(Int4, ActOrderIsAnOrderOfTheInputs) {
  const Scheme& ordered = scheme("int4_g32_zp_order");
  const Scheme& plain = scheme("int4_g32_zp");
  CanonicalWeight weight = all_codes(ordered.info(), DType::kF16);
  const auto [out, in] = weight.shape;
  CanonicalWeight sorted = weight;
  sorted.group_of_input.clear();
  std::vector<float> x(in), sorted_x(in);
  for (int64_t k = 0; k < in; ++k) x[k] = std::sin(static_cast<float>(k));
  int64_t column = 0;
  for (int32_t g = 0; g < in / 32; ++g)
    for (int64_t k = 0; k < in; ++k) {
      if (weight.group_of_input[k] != g) continue;
      sorted_x[column] = x[k];
      for (int64_t i = 0; i < out; ++i) sorted.codes[i * in + column] = weight.codes[i * in + k];
      ++column;
    }
  ThreadPool pool(1);
  for (const Isa isa : runnable_isas())
    EXPECT_EQ(multiply_all(ordered, ordered.pack(weight, pool), x, 1, isa),
              multiply_all(plain, plain.pack(sorted, pool), sorted_x, 1, isa));
}

TEST(Int4, PackRefusesWhatItCannotHold) {
  ThreadPool pool(1);
  const Scheme& scheme = trimeter::scheme("int4_g64_order");
  const CanonicalWeight good = all_codes(scheme.info(), DType::kF16);
  const auto expect_refused = [&](const CanonicalWeight& bad, const char* why) {
    try {
      scheme.pack(bad, pool);
      ADD_FAILURE() << "wanted: " << why;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  };
  for (const int32_t group : {-1, 4, 3}) {  // there are 4 groups; 3 has its 64 inputs already
    CanonicalWeight bad = good;
    ASSERT_NE(bad.group_of_input[0], group);
    bad.group_of_input[0] = group;
    expect_refused(bad, "4 groups of 64 inputs");
  }
  CanonicalWeight bad = good;
  bad.scale_dtype = DType::kBF16;
  expect_refused(bad, "exact in BF16");
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
