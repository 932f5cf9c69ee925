#include "base/stats.h"

#include <gtest/gtest.h>

namespace trimeter {
namespace {

TEST(Stats, QuantilesInterpolateAsNumpyDoes) {
  const std::vector<double> x = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(median(x), 2.5);
  EXPECT_DOUBLE_EQ(quantile(x, 0.25), 1.75);  // numpy.quantile([1,2,3,4], .25)
  EXPECT_DOUBLE_EQ(quantile(x, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(x, 1), 4);
}

TEST(Stats, SpreadIgnoresOneOutlier) {
  const std::vector<double> x = {10, 11, 12, 13, 1000};
  EXPECT_DOUBLE_EQ(median(x), 12);
  EXPECT_DOUBLE_EQ(mad(x), 1);
}

TEST(Stats, StandardErrorOfTheMean) {
  const std::vector<double> x = {1, 2, 3, 4, 5};
  EXPECT_NEAR(standard_error(x), 0.70710678, 1e-8);  // scipy.stats.sem
  EXPECT_DOUBLE_EQ(standard_error(std::vector<double>{7}), 0);
}

TEST(Stats, StandardErrorOfClusters) {
  const std::vector<double> x = {1, 2, 3, 4, 5};
  const std::vector<size_t> ones(5, 1);
  EXPECT_DOUBLE_EQ(clustered_standard_error(x, ones), standard_error(x));
  // Mean 3, residual sums of (1, 2) and (3, 4, 5): -3 and 3; sqrt(2 / 1 * 18) / 5.
  EXPECT_DOUBLE_EQ(clustered_standard_error(x, std::vector<size_t>{2, 3}), 6. / 5);
  // A text said twice is no second text: two samples of each are worth one.
  EXPECT_DOUBLE_EQ(clustered_standard_error(std::vector<double>{1, 1, 2, 2, 6, 6}, std::vector<size_t>{2, 2, 2}),
                   standard_error(std::vector<double>{1, 2, 6}));
  EXPECT_DOUBLE_EQ(clustered_standard_error(x, std::vector<size_t>{5}), 0);
  EXPECT_DEATH(clustered_standard_error(x, std::vector<size_t>{2, 2}), "5 samples in 2 clusters");
}

TEST(Stats, MedianIntervalIsTheNarrowestThatCovers) {
  const auto ladder = [](int n) {
    std::vector<double> x;
    for (int i = 1; i <= n; ++i) x.push_back(i);
    return ci95_of_median(x);
  };
  EXPECT_EQ(ladder(1), std::make_pair(1.0, 1.0));
  EXPECT_EQ(ladder(5), std::make_pair(1.0, 5.0));    // 93.75%, the best that five can do
  EXPECT_EQ(ladder(6), std::make_pair(1.0, 6.0));    // 96.9%
  EXPECT_EQ(ladder(8), std::make_pair(1.0, 8.0));    // (x2, x7) would cover 93.0%
  EXPECT_EQ(ladder(9), std::make_pair(2.0, 8.0));    // 96.1%
  EXPECT_EQ(ladder(20), std::make_pair(6.0, 15.0));  // 95.9%, as in the textbook's table
}

TEST(Stats, RatiosArePaired) {
  const std::vector<double> a = {2, 6}, b = {1, 2};
  EXPECT_EQ(paired_ratios(a, b), (std::vector<double>{2, 3}));
}

}  // namespace
}  // namespace trimeter
