#include "algorithms/input_statistics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace trimeter {
namespace {

// Token t's first channel is t, its second -t / 2.
std::vector<float> tokens(int64_t first, int64_t n) {
  std::vector<float> x;
  for (int64_t t = first; t < first + n; ++t) {
    x.push_back(static_cast<float>(t));
    x.push_back(static_cast<float>(-t) / 2);
  }
  return x;
}

// In pieces of any size: the sample depends on the tokens alone.
TEST(InputStatistics, SampleIsEveryStridethToken) {
  constexpr int64_t kMax = InputStatistics::kMaxSample;
  struct Case {
    int64_t n, stride;
  };
  for (const auto& [n, stride] : {Case{1, 1}, {kMax, 1}, {kMax + 1, 2}, {2 * kMax, 2}, {2 * kMax + 1, 4}, {5000, 16}}) {
    for (const int64_t piece : {n, int64_t{1}, int64_t{7}, int64_t{300}}) {
      ThreadPool pool(1);
      InputStatistics s(2);
      for (int64_t t = 0; t < n; t += piece) {
        const int64_t m = std::min(piece, n - t);
        s.add(tokens(t, m).data(), m, pool);
      }
      EXPECT_EQ(s.sample_stride, stride) << n;
      ASSERT_EQ(s.n_sample(), (n + stride - 1) / stride) << n << " by " << piece;
      for (int64_t i = 0; i < s.n_sample(); ++i) {
        EXPECT_EQ(s.sample[2 * i], static_cast<float>(i * stride));
        EXPECT_EQ(s.sample[2 * i + 1], static_cast<float>(-i * stride) / 2);
      }
    }
  }
}

TEST(InputStatistics, LargestMagnitudesAndSumsAreByChannel) {
  ThreadPool pool(2);
  InputStatistics s = InputStatistics::without_gram(2);
  s.add(tokens(0, 100).data(), 100, pool);
  s.add(tokens(0, 50).data(), 50, pool);
  EXPECT_EQ(s.n_tokens, 150);
  EXPECT_EQ(s.amax, (std::vector<float>{99, 49.5f}));
  EXPECT_EQ(s.abs_sum, (std::vector<double>{4950 + 1225, 2475 + 612.5}));
  EXPECT_TRUE(s.gram.empty());
}

TEST(InputStatistics, DivisionIsThatOfTheInputs) {
  ThreadPool pool(1);
  std::vector<float> x = tokens(0, 40);
  const std::vector<float> scales = {4, 0.5f};  // exact
  InputStatistics divided = InputStatistics::without_gram(2), want = InputStatistics::without_gram(2);
  divided.add(x.data(), 40, pool);
  divided.divide(scales);
  for (size_t i = 0; i < x.size(); ++i) x[i] /= scales[i % 2];
  want.add(x.data(), 40, pool);
  EXPECT_EQ(divided.amax, want.amax);
  EXPECT_EQ(divided.abs_sum, want.abs_sum);
  EXPECT_EQ(divided.sample, want.sample);
}

}  // namespace
}  // namespace trimeter
