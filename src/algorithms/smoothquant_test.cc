#include "algorithms/smoothquant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "algorithms/awq.h"
#include "algorithms/output_probe.h"

namespace trimeter {
namespace {

constexpr int64_t kIn = 192, kOut = 48, kTokens = 60;

// Every 31st channel of the inputs is 50 times larger than the rest.
struct Problem {
  std::vector<float> x = std::vector<float>(kTokens * kIn), w = std::vector<float>(kOut * kIn);
  InputStatistics input = InputStatistics::without_gram(kIn);
  explicit Problem(float outlier = 50) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    for (int64_t i = 0; i < kTokens * kIn; ++i) x[i] = normal(random) * (i % kIn % 31 == 7 ? outlier : 1);
    for (float& v : w) v = 0.05f * normal(random);
    ThreadPool pool(1);
    input.add(x.data(), kTokens, pool);
  }
  float w_amax(int64_t column) const {
    float amax = 0;
    for (int64_t row = 0; row < kOut; ++row) amax = std::fmax(amax, std::fabs(w[row * kIn + column]));
    return amax;
  }
};

TEST(SmoothQuant, ScalesAreThePapersFormula) {
  const Problem p;
  for (const double alpha : {0.0, 0.5, 0.8, 1.0}) {
    const std::vector<float> s = smoothquant_scales(p.w, p.input, {}, alpha);
    for (int64_t i = 0; i < kIn; ++i) {
      float x_amax = 0;
      for (int64_t t = 0; t < kTokens; ++t) x_amax = std::fmax(x_amax, std::fabs(p.x[t * kIn + i]));
      const double want = std::pow(x_amax, alpha) / std::pow(p.w_amax(i), 1 - alpha);
      ASSERT_NEAR(s[i], want, 4e-7 * want) << alpha << ", " << i;
    }
  }
}

// Half of the ranges' product each: what alpha = 0.5 is for.
TEST(SmoothQuant, AlphaOfAHalfMakesTheRangesEqual) {
  const Problem p;
  const std::vector<float> s = smoothquant_scales(p.w, p.input, {}, 0.5);
  for (int64_t i = 0; i < kIn; ++i) EXPECT_FLOAT_EQ(p.input.amax[i] / s[i], p.w_amax(i) * s[i]) << i;
}

TEST(SmoothQuant, UnusedChannelsAreLeftAlone) {
  Problem p;
  p.input.amax[3] = 0;
  for (int64_t row = 0; row < kOut; ++row) p.w[row * kIn + 5] = 0;
  const std::vector<float> s = smoothquant_scales(p.w, p.input, {}, 0.5);
  EXPECT_EQ(s[3], 1);
  EXPECT_EQ(s[5], 1);
}

TEST(SmoothQuant, InputsOfOneChannelShareAScale) {
  const Problem p;
  std::vector<int32_t> channels(kIn);
  for (int64_t i = 0; i < kIn; ++i) channels[i] = static_cast<int32_t>(i % (kIn / 2));
  const std::vector<float> s = smoothquant_scales(p.w, p.input, channels, 0.7);
  for (int64_t i = 0; i < kIn / 2; ++i) {
    EXPECT_EQ(s[i], s[i + kIn / 2]);
    const double x = std::fmax(p.input.amax[i], p.input.amax[i + kIn / 2]);
    const double w = std::fmax(p.w_amax(i), p.w_amax(i + kIn / 2));
    EXPECT_FLOAT_EQ(s[i], static_cast<float>(std::pow(x, 0.7) / std::pow(w, 0.3)));
  }
}

double error_of(const Problem& p, const std::vector<float>& scales, const Scheme& scheme, ThreadPool& pool) {
  std::vector<float> w = p.w, x = p.x;
  multiply_columns(w, scales);
  for (int64_t i = 0; i < kTokens * kIn; ++i) x[i] /= scales[i % kIn];
  const DenseRows rows{reinterpret_cast<const std::byte*>(w.data()), DType::kF32, kOut};
  return OutputProbe(p.w, p.x, kIn, pool).relative_error(scheme, scheme.quantize_rtn({&rows, 1}, {kOut, kIn}), x, pool);
}

// Outliers of 50 take the other channels' activations 5 of the 7 bits; what migration gives back is worth a factor of
// ten and more.
TEST(SmoothQuant, TheSearchFindsTheLeastErrorOfItsGrid) {
  ThreadPool pool(2);
  const Scheme& int8 = scheme("int8");
  const Problem p;
  const SmoothQuantScales found = smoothquant_search(p.w, p.input, {}, int8, {}, {}, pool);
  ASSERT_TRUE(found.alpha);
  double least = INFINITY;
  for (int step = 0; step <= 20; ++step)
    least = std::fmin(least, error_of(p, smoothquant_scales(p.w, p.input, {}, step / 20.0), int8, pool));
  EXPECT_EQ(found.error, least);
  EXPECT_EQ(found.error, error_of(p, found.scales, int8, pool));
  EXPECT_EQ(found.error_plain, error_of(p, std::vector<float>(kIn, 1), int8, pool));
  EXPECT_LT(found.error * 10, found.error_plain);
  EXPECT_GT(found.error, 0);
}

TEST(SmoothQuant, StaticScalesAreMeasuredAsTheyWillBeFound) {
  ThreadPool pool(2);
  const Problem p;
  const Scheme& int8 = scheme("int8_static");
  const SmoothQuantScales found = smoothquant_search(p.w, p.input, {}, int8, {}, {}, pool);
  EXPECT_LT(found.error * 10, found.error_plain);
  EXPECT_GT(found.error_plain, smoothquant_search(p.w, p.input, {}, scheme("int8"), {}, {}, pool).error_plain);
}

// fp32 rounds nothing of the weight: no alpha is better than none.
TEST(SmoothQuant, WhereNothingIsWonNothingIsMoved) {
  ThreadPool pool(1);
  const Problem p(1);
  const SmoothQuantScales found = smoothquant_search(p.w, p.input, {}, scheme("fp32"), {}, {}, pool);
  EXPECT_FALSE(found.alpha);
  EXPECT_EQ(found.scales, std::vector<float>(kIn, 1.0f));
}

TEST(SmoothQuant, AGivenAlphaIsTaken) {
  ThreadPool pool(1);
  const Problem p;
  const SmoothQuantScales found = smoothquant_search(p.w, p.input, {}, scheme("fp32"), {.alpha = 0.3}, {}, pool);
  EXPECT_EQ(found.alpha, 0.3);
  EXPECT_EQ(found.scales, smoothquant_scales(p.w, p.input, {}, 0.3));
}

}  // namespace
}  // namespace trimeter
