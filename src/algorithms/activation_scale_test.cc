#include "algorithms/activation_scale.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace trimeter {
namespace {

using Range = ActivationOptions::Range;

InputStatistics statistics(const std::vector<float>& x, int64_t in) {
  ThreadPool pool(1);
  InputStatistics s = InputStatistics::without_gram(in);
  s.add(x.data(), std::ssize(x) / in, pool);
  return s;
}

// 100 tokens of 10 channels, 0.001 to 1, signs in turn.
std::vector<float> thousandths() {
  std::vector<float> x;
  for (int i = 1; i <= 1000; ++i) x.push_back(static_cast<float>(i % 2 ? i : -i) / 1000);
  return x;
}

TEST(ActivationScale, AmaxIsOfAllTokensAndChannels) {
  const InputStatistics s = statistics(thousandths(), 10);
  EXPECT_EQ(activation_scale(s, DType::kF8E4M3, {.range = Range::kAmax}), 1 / 448.0f);
  EXPECT_EQ(activation_scale(s, DType::kI8, {.range = Range::kAmax}), 1 / 127.0f);
}

TEST(ActivationScale, PercentileIsOfTheMagnitudes) {
  const InputStatistics s = statistics(thousandths(), 10);
  const auto range = [&](double percentile) {
    return activation_scale(s, DType::kI8, {.range = Range::kPercentile, .percentile = percentile}) * 127;
  };
  EXPECT_FLOAT_EQ(range(100), 1);
  EXPECT_FLOAT_EQ(range(99), 0.990f);
  EXPECT_FLOAT_EQ(range(50), 0.500f);
  EXPECT_FLOAT_EQ(range(0.01), 0.001f);
}

TEST(ActivationScale, NothingSeenGivesOne) {
  const InputStatistics s = statistics(std::vector<float>(40), 10);
  for (const Range range : {Range::kAmax, Range::kPercentile, Range::kMse})
    EXPECT_EQ(activation_scale(s, DType::kI8, {.range = range}), 1);
}

double error_of(const std::vector<float>& x, float scale) {
  double sum = 0;
  for (const float v : x) {
    const double q = std::fmin(std::fmax(std::nearbyint(static_cast<double>(v / scale)), -128), 127);
    sum += std::pow(q * static_cast<double>(scale) - static_cast<double>(v), 2);
  }
  return sum;
}

// A normal distribution and a single value at 8 deviations: clipping it costs little, the finer steps gain more. The
// best of the 80 ranges by the definition itself.
TEST(ActivationScale, MseTradesClippingForFinerSteps) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> x(100000);
  for (float& v : x) v = normal(random);
  x[123] = 8;
  const float got = activation_scale(statistics(x, 200), DType::kI8, {.range = Range::kMse});
  EXPECT_LT(got, 0.8f * 8 / 127);
  double least = INFINITY;
  for (int percent = 100; percent > 20; --percent)
    least = std::fmin(least, error_of(x, 8 * static_cast<float>(percent / 100.0) / 127));
  EXPECT_NEAR(error_of(x, got), least, 1e-6 * least);  // ties of x / scale may fall to either side in float
  EXPECT_LT(least, 0.8 * error_of(x, 8 / 127.0f));
}

// e4m3's steps are relative: nothing is won by clipping the largest value.
TEST(ActivationScale, MseLeavesFloatsTheirRange) {
  std::vector<float> x = thousandths();
  x[0] = 2;
  const float got = activation_scale(statistics(x, 10), DType::kF8E4M3, {.range = Range::kMse});
  EXPECT_GE(got * 448, 1.8f);  // e4m3's relative error at its top is 2^-4: clipping 2 by more than that is worse
}

}  // namespace
}  // namespace trimeter
