#include "meters/distribution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace trimeter {
namespace {

// Logits are floats: a logarithm below 8 is off by up to 2^-22, and so is what is made of it.
constexpr double kLogitError = 0x1p-22;

TEST(Distribution, LogSumExp) {
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{0, 0, 0, 0}), std::log(4.0));
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{1000, 1000}), 1000 + std::log(2.0));
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{-1000, -1000}), -1000 + std::log(2.0));
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{-infinity, 3}), 3);
  for (const std::vector<float>& bad : {std::vector<float>{1, NAN}, {NAN, 1}, {infinity, 0}, {-infinity, -infinity}})
    EXPECT_FALSE(std::isfinite(log_sum_exp(bad)));
}

TEST(Distribution, KlDivergenceByHand) {
  // p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2): 1/2 log 2 + 0 - 1/4 log 2. Logits are moved by 7 and -3.
  const float log2 = std::log(2.0f);
  const std::vector<float> p{7 - log2, 7 - 2 * log2, 7 - 2 * log2}, q{-3 - 2 * log2, -3 - 2 * log2, -3 - log2};
  EXPECT_NEAR(kl_divergence(p, log_sum_exp(p), q, log_sum_exp(q)), 0.25 * std::log(2.0), 4 * kLogitError);
  EXPECT_EQ(kl_divergence(p, log_sum_exp(p), p, log_sum_exp(p)), 0);
  // Not symmetric: (1/2, 1/4, 1/4) against uniform and back.
  const std::vector<float> u{0, 0, 0};
  EXPECT_NEAR(kl_divergence(p, log_sum_exp(p), u, log_sum_exp(u)), std::log(3.0) - 1.5 * std::log(2.0),
              4 * kLogitError);
  EXPECT_NEAR(kl_divergence(u, log_sum_exp(u), p, log_sum_exp(p)), 5. / 3 * std::log(2.0) - std::log(3.0),
              4 * kLogitError);
}

TEST(Distribution, ArgmaxTakesTheFirstOfEquals) {
  EXPECT_EQ(argmax(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(argmax(std::vector<float>{-2, -1}), 1);
}

}  // namespace
}  // namespace trimeter
