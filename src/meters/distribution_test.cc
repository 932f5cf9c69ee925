#include "meters/distribution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace trimeter {
namespace {

// Logits are floats: a logarithm below 8 is off by up to 2^-22, and so is what is made of it.
constexpr double kLogitError = 0x1p-22;

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

}  // namespace
}  // namespace trimeter
