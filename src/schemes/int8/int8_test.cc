#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "schemes/kernel_test.h"

namespace trimeter {
namespace {

using Code = std::function<int(int64_t row, int64_t k)>;

CanonicalWeight weight_of(MatShape shape, const Code& code) {
  CanonicalWeight weight;
  weight.shape = shape;
  for (int64_t i = 0; i < shape.out; ++i) {
    weight.scales.push_back(0.37f + 0.01f * static_cast<float>(i));
    for (int64_t k = 0; k < shape.in; ++k) weight.codes.push_back(static_cast<uint8_t>(code(i, k) + 128));
  }
  return weight;
}

// The largest sums there are, of one sign and of changing ones, and all codes against all inputs: the integers are
// those of a sum in 64 bits, so the outputs have the same bits everywhere. A pair of 127 * 127 overflows 16 bits.
TEST(Int8, SumsAreExactOnEveryIsa) {
  std::mt19937 random(5);
  std::uniform_int_distribution<int> any(-128, 127);
  std::vector<int> noise(4096);
  for (int& value : noise) value = any(random);
  const auto always = [](int value) { return [value](int64_t, int64_t) { return value; }; };
  struct Case {
    MatShape shape;
    Code w, x;
  };
  const Case cases[] = {{{17, 2048}, always(-128), always(-128)},
                        {{17, 2048}, always(127), always(-128)},
                        {{17, 2048}, always(127), always(127)},
                        {{1, (1 << 17) - 1}, always(-128), always(-128)},
                        {{16, 515}, [](int64_t, int64_t k) { return k % 2 == 0 ? 127 : -128; }, always(127)},
                        {{256, 256},
                         [](int64_t i, int64_t k) { return (i + k) % 256 - 128; },
                         [](int64_t, int64_t k) { return k - 128; }},
                        {{65, 771},
                         [&](int64_t i, int64_t k) { return noise[(i * 771 + k) % 4096]; },
                         [&](int64_t t, int64_t k) { return noise[(t * 513 + k * 7) % 4096]; }}};
  constexpr int64_t kTokens = 5;
  constexpr float kScale = 0.5f;  // codes times it are exact, so inputs are quantized to these codes
  const Scheme& scheme = trimeter::scheme("int8_static");
  ThreadPool pool(1);
  for (const Case& c : cases) {
    CanonicalWeight weight = weight_of(c.shape, c.w);
    weight.input_scale = kScale;
    const PackedWeight packed = scheme.pack(weight, pool);
    std::vector<float> x;
    for (int64_t t = 0; t < kTokens; ++t)
      for (int64_t k = 0; k < c.shape.in; ++k) x.push_back(kScale * static_cast<float>(c.x(t, k)));
    for (const Isa isa : runnable_isas()) {
      const std::vector<float> y = multiply_all(scheme, packed, x, kTokens, isa);
      for (int64_t t = 0; t < kTokens; ++t)
        for (int64_t i = 0; i < c.shape.out; ++i) {
          int64_t sum = 0;
          for (int64_t k = 0; k < c.shape.in; ++k) sum += c.w(i, k) * c.x(t, k);
          ASSERT_EQ(y[t * c.shape.out + i], kScale * (weight.scales[i] * static_cast<float>(sum)))
              << name(isa) << " " << c.shape.out << " x " << c.shape.in << " token " << t << " row " << i;
        }
    }
  }
}

// Integers and the few roundings around them leave no room.
TEST(Int8, OutputsHaveTheSameBitsOnEveryIsa) {
  std::mt19937 random(6);
  std::uniform_int_distribution<int> any(-128, 127);
  std::normal_distribution<float> normal;
  const MatShape shape{70, 771};
  const CanonicalWeight weight = weight_of(shape, [&](int64_t, int64_t) { return any(random); });
  std::vector<float> x(17 * shape.in);
  for (float& value : x) value = normal(random);
  ThreadPool pool(1);
  const PackedWeight packed = scheme("int8").pack(weight, pool);
  const std::vector<float> want = multiply_all(scheme("int8"), packed, x, 17, Isa::kScalar);
  for (const Isa isa : runnable_isas()) EXPECT_EQ(multiply_all(scheme("int8"), packed, x, 17, isa), want) << name(isa);
}

// Inputs as a weight of ones on the diagonal shows them: code times scale.
std::vector<float> quantized(const Scheme& scheme, const std::vector<float>& x, float input_scale, Isa isa) {
  const auto n = static_cast<int64_t>(x.size());
  CanonicalWeight identity = weight_of({n, n}, [](int64_t i, int64_t k) { return i == k ? 1 : 0; });
  std::ranges::fill(identity.scales, 1.0f);
  identity.input_scale = input_scale;
  ThreadPool pool(1);
  return multiply_all(scheme, scheme.pack(identity, pool), x, 1, isa);
}

TEST(Int8, DynamicInputsAreRoundedToEvenByTheScaleOfTheirLargest) {
  for (const Isa isa : runnable_isas()) {
    EXPECT_EQ(quantized(scheme("int8"), {-127, 0.5f, 1.5f, -2.5f, 3.499f, 126.5f}, 0, isa),
              (std::vector<float>{-127, 0, 2, -2, 3, 126}))
        << name(isa);
    const float scale = 0.3f / 127;
    EXPECT_EQ(quantized(scheme("int8"), {0.1f, 0.3f}, 0, isa), (std::vector<float>{scale * 42, scale * 127}));
    EXPECT_EQ(quantized(scheme("int8"), {1e-38f, 0, -1e-40f}, 0, isa), (std::vector<float>{0, 0, 0})) << name(isa);
  }
}

TEST(Int8, StaticInputsAreRoundedToEvenAndClamped) {
  for (const Isa isa : runnable_isas())
    EXPECT_EQ(quantized(scheme("int8_static"), {0.25f, 0.75f, -1.25f, 1000, -1000, 63.5f, -64}, 0.5f, isa),
              (std::vector<float>{0, 1, -1, 63.5f, -64, 63.5f, -64}))
        << name(isa);
}

TEST(Int8, RefusesAWidthWhoseSumsDontFit32Bits) {
  EXPECT_EQ(scheme("int8").refuses({16, 131071}), "");
  EXPECT_NE(scheme("int8").refuses({16, 131072}).find("in = 131072"), std::string::npos);
}

// What a file has: a byte a weight, a float a row.
TEST(Int8, BytesAreAByteAWeightAndAFloatARow) {
  const WeightBytes bytes = scheme("int8").bytes({64, 256});
  EXPECT_EQ(bytes.values, 64 * 256);
  EXPECT_EQ(bytes.scales, 64 * 4);
}

// 2 amax / 255 in f32, not rounded to 16 bits.
TEST(Int8, ScalesOfRowsAreFloats) {
  const std::vector<float> values = {0.1f, -0.7f, 1e-3f, 2e-3f};
  const DenseRows part{reinterpret_cast<const std::byte*>(values.data()), DType::kF32, 2};
  const CanonicalWeight weight = scheme("int8").quantize_rtn({&part, 1}, {2, 2});
  EXPECT_EQ(weight.scales, (std::vector<float>{1.4f / 255, 4e-3f / 255}));
}

}  // namespace
}  // namespace trimeter
