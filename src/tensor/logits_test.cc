#include "tensor/logits.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace trimeter {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Logits, LogSumExp) {
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{0, 0, 0, 0}), std::log(4.0));
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{1000, 1000, -1000}), 1000 + std::log(2.0));
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{-1000, -1000}), -1000 + std::log(2.0));
  EXPECT_DOUBLE_EQ(log_sum_exp(std::vector<float>{-kInfinity, 3}), 3);
  for (const std::vector<float>& bad : {std::vector<float>{1, NAN}, {NAN, 1}, {kInfinity, 0}, {-kInfinity, -kInfinity}})
    EXPECT_FALSE(std::isfinite(log_sum_exp(bad)));
}

TEST(Logits, ArgmaxTakesTheFirstOfEquals) {
  EXPECT_EQ(argmax(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(argmax(std::vector<float>{-2, -1}), 1);
  constexpr float kHuge = std::numeric_limits<float>::max();
  EXPECT_EQ(argmax(std::vector<float>{-kHuge, kHuge, 0, kHuge}), 1);
  for (const float bad : {NAN, kInfinity, -kInfinity})
    for (const size_t at : {0, 15, 16, 530, 1039})  // in a whole run of lanes, in another block, in the tail
      for (const float others : {-1.0f, kHuge}) {
        std::vector<float> logits(1040, others);
        logits[at] = bad;
        EXPECT_EQ(argmax(logits), -1) << bad << " at " << at;
      }
}

// All lengths around a lane group and a block, few distinct values so that there are many equals.
TEST(Logits, ArgmaxIsThatOfAPlainLoop) {
  std::mt19937 random(1);
  for (size_t n = 1; n < 1100; ++n) {
    std::vector<float> x(n);
    for (float& value : x) value = static_cast<float>(random() % (1 + n / 3)) - 5;
    const auto want = std::max_element(x.begin(), x.end()) - x.begin();
    ASSERT_EQ(argmax(x), want) << n;
  }
}

}  // namespace
}  // namespace trimeter
