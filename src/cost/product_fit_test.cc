#include "cost/product_fit.h"

#include <gtest/gtest.h>

#include <vector>

namespace trimeter {
namespace {

TEST(ProductFit, FindsWhatTheTimesAreMadeOf) {
  const ProductFit want{3e-6, 2e-10, 5e-11, 7e-13};
  std::vector<ProductTime> times;
  for (const MatShape shape : {MatShape{10240, 4096}, {2048, 4096}, {2048, 8192}, {8192, 1024}, {1024, 1024}})
    times.push_back({shape, want.seconds(shape)});
  const ProductFit got = fit_products(times);
  EXPECT_NEAR(got.call, want.call, 1e-9 * want.call);
  EXPECT_NEAR(got.per_output, want.per_output, 1e-9 * want.per_output);
  EXPECT_NEAR(got.per_input, want.per_input, 1e-9 * want.per_input);
  EXPECT_NEAR(got.per_weight, want.per_weight, 1e-9 * want.per_weight);
  EXPECT_DOUBLE_EQ(want.seconds({10, 100}), 3e-6 + 2e-9 + 5e-9 + 7e-10);
}

TEST(ProductFit, NothingIsNegative) {
  // Rows that cost nothing, and noise that would have them bring time.
  const std::vector<ProductTime> times = {{{10240, 4096}, 28e-6},
                                          {{2048, 4096}, 8e-6},
                                          {{2048, 8192}, 13e-6},
                                          {{8192, 1024}, 7e-6},
                                          {{1024, 1024}, 3.5e-6}};
  const ProductFit got = fit_products(times);
  EXPECT_GE(got.call, 0);
  EXPECT_GE(got.per_output, 0);
  EXPECT_GE(got.per_input, 0);
  EXPECT_GT(got.per_weight, 0);
  for (const ProductTime& time : times) EXPECT_NEAR(got.seconds(time.shape) / time.seconds, 1, 0.15);
}

TEST(ProductFit, OfFewShapesHasFewParts) {
  const std::vector<ProductTime> one = {{{1000, 100}, 1e-6}}, two = {{{1000, 100}, 3e-6}, {{2000, 100}, 5e-6}};
  EXPECT_NEAR(fit_products(one).seconds({2000, 100}), 2e-6, 1e-15);
  EXPECT_NEAR(fit_products(two).call, 1e-6, 1e-15);
  EXPECT_NEAR(fit_products(two).seconds({3000, 100}), 7e-6, 1e-15);
}

}  // namespace
}  // namespace trimeter
