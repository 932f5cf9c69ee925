#include "meters/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/stats.h"
#include "meters/fake_engine.h"

namespace trimeter {
namespace {

constexpr double kLogitError = 0x1p-22;  // of a logarithm below 8 held as a float

TEST(Perplexity, OfTheUniformDistributionIsTheVocabulary) {
  FakeEngine engine(std::vector<std::vector<float>>(8, std::vector<float>(8, 2.5f)));
  const std::vector<int32_t> tokens{0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2};
  const Perplexity p = measure_perplexity(engine, tokens, 4);
  EXPECT_NEAR(p.perplexity, 8, 1e-12);
  EXPECT_NEAR(p.perplexity_se.value(), 0, 1e-12);
  EXPECT_NEAR(p.nll, std::log(8.0), 1e-14);
  EXPECT_EQ(p.tokens_scored, 3 + 3 + 2);
  EXPECT_EQ(p.windows, 3);
  EXPECT_EQ(measure_perplexity(engine, std::span(tokens).first(9), 4).tokens_scored, 3 + 3);  // the ninth is alone
  EXPECT_EQ(measure_perplexity(engine, std::span(tokens).first(10), 4).tokens_scored, 3 + 3 + 1);
  const Perplexity one_window = measure_perplexity(engine, std::span(tokens).first(2), 64);
  EXPECT_EQ(one_window.tokens_scored, 1);
  EXPECT_FALSE(one_window.perplexity_se);
}

TEST(Perplexity, ByHandAndNotAcrossWindows) {
  // After 0: (1/2, 1/2). After 1: (1/4, 3/4).
  const auto log_of = [](double p) { return static_cast<float>(std::log(p)); };
  FakeEngine engine({{log_of(0.5), log_of(0.5)}, {log_of(0.25), log_of(0.75)}});
  int64_t last = -1, total = -1;
  const Perplexity p = measure_perplexity(engine, std::vector<int32_t>{0, 1, 1, 0, 1, 0}, 3,
                                          [&](std::string_view, int64_t done, int64_t of) { last = done, total = of; });
  const std::vector<double> nll{std::log(2.0), std::log(4. / 3), std::log(2.0), std::log(4.0)};
  EXPECT_NEAR(p.nll, mean(nll), kLogitError);
  EXPECT_NEAR(p.perplexity, std::exp(mean(nll)), 4 * kLogitError);
  EXPECT_NEAR(p.perplexity_se.value(), std::exp(mean(nll)) * clustered_standard_error(nll, std::vector<size_t>{2, 2}),
              4 * kLogitError);
  EXPECT_EQ(last, 2);
  EXPECT_EQ(total, 2);
}

TEST(Perplexity, Refusals) {
  FakeEngine engine({{0, 0}, {0, NAN}});
  const auto message = [&](std::vector<int32_t> tokens, int32_t context) -> std::string {
    try {
      measure_perplexity(engine, tokens, context);
    } catch (const Error& e) {
      return e.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message({0, 0}, 1), "perplexity: context: wanted 2 to 64 tokens, got 1");
  EXPECT_EQ(message({0, 0}, 65), "perplexity: context: wanted 2 to 64 tokens, got 65");
  EXPECT_EQ(message({0}, 8), "perplexity: text: wanted at least 2 tokens, got 1");
  EXPECT_EQ(message({0, 0, 1, 0}, 64), "perplexity: window 0, position 2: wanted finite logits, got nan");
  EXPECT_EQ(message({0, 0, 1}, 64), "accepted");  // what follows the last token is not scored
}

}  // namespace
}  // namespace trimeter
