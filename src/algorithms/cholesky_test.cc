#include "algorithms/cholesky.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace trimeter {
namespace {

constexpr double kUnit = 0x1p-53;

// X^T X + I of n + 5 random rows.
std::vector<double> positive_definite(int64_t n) {
  std::mt19937 random(static_cast<uint32_t>(n));
  std::normal_distribution<double> normal;
  std::vector<double> x((n + 5) * n), h(n * n);
  for (double& v : x) v = normal(random);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      h[i * n + j] = i == j;
      for (int64_t t = 0; t < n + 5; ++t) h[i * n + j] += x[t * n + i] * x[t * n + j];
    }
  return h;
}

// Below, at and across the block of 64. Cholesky's backward error is (n + 1) u |V| |V|^T (Higham, theorem 10.3), the
// divisions and squares that make M and D of V are 3 more, and so is the check's own product.
TEST(Cholesky, TheProductOfTheFactorsIsTheMatrix) {
  for (const int64_t n : {1, 2, 63, 64, 65, 130, 200}) {
    ThreadPool pool(3);
    const std::vector<double> h = positive_definite(n);
    std::vector<double> f = h;
    ASSERT_TRUE(factor_upper(f, n, pool)) << n;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = i; j < n; ++j) {
        double sum = 0, magnitude = 0;
        for (int64_t k = j; k < n; ++k) {
          const double term = (i == k ? 1 : f[i * n + k]) * f[k * n + k] * (j == k ? 1 : f[j * n + k]);
          sum += term;
          magnitude += std::fabs(term);
        }
        ASSERT_NEAR(sum, h[i * n + j], 2 * static_cast<double>(n + 7) * kUnit * magnitude)
            << n << ": " << i << ", " << j;
      }
  }
}

// Back substitution's backward error is n u |M| |N| (Higham, theorem 8.5 and section 14.2), and the check's product has
// as much again.
TEST(Cholesky, TheInverseIsOne) {
  for (const int64_t n : {1, 2, 63, 64, 65, 130, 200}) {
    ThreadPool pool(3);
    std::vector<double> m = positive_definite(n);
    ASSERT_TRUE(factor_upper(m, n, pool));
    for (int64_t i = 0; i < n; ++i) std::fill_n(&m[i * n], i, 0.0);
    std::vector<double> inverse = m;
    invert_unit_upper(inverse, n, pool);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0, magnitude = 0;
        for (int64_t k = i; k <= j; ++k) {
          const double term = (i == k ? 1 : m[i * n + k]) * inverse[k * n + j];
          sum += term;
          magnitude += std::fabs(term);
        }
        ASSERT_NEAR(sum, i == j, 2 * static_cast<double>(n) * kUnit * magnitude) << n << ": " << i << ", " << j;
      }
  }
}

TEST(Cholesky, SameBitsForAnyNumberOfThreads) {
  ThreadPool one(1), four(4);
  std::vector<double> a = positive_definite(150), b = a;
  ASSERT_TRUE(factor_upper(a, 150, one));
  ASSERT_TRUE(factor_upper(b, 150, four));
  EXPECT_EQ(a, b);
  for (int64_t i = 0; i < 150; ++i) std::fill_n(&a[i * 150], i, 0.0);
  b = a;
  invert_unit_upper(a, 150, one);
  invert_unit_upper(b, 150, four);
  EXPECT_EQ(a, b);
}

TEST(Cholesky, WhatIsNotPositiveDefiniteIsToldApart) {
  ThreadPool pool(2);
  for (const int64_t bad : {0, 70, 149}) {
    std::vector<double> h = positive_definite(150);
    h[bad * 150 + bad] = 0;
    EXPECT_FALSE(factor_upper(h, 150, pool)) << bad;
  }
  std::vector<double> nan = {std::nan("")};
  EXPECT_FALSE(factor_upper(nan, 1, pool));
}

}  // namespace
}  // namespace trimeter
