#include "meters/quality.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "base/stats.h"
#include "meters/distribution.h"
#include "meters/fake_engine.h"
#include "meters/token_scores.h"

namespace trimeter {
namespace {

// Logits are floats: a logarithm below 8 is off by up to 2^-22. Every figure below is a smooth function of a few of
// them with slopes below 4.
constexpr double kLogitError = 4 * 0x1p-22;

std::vector<float> logits_of(std::initializer_list<double> probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

const std::vector<std::vector<float>> kUniform(4, std::vector<float>(4, 0.0f));
// As kUniform but after 0 and after 1.
const std::vector<std::vector<float>> kSkewed{logits_of({1. / 2, 1. / 4, 1. / 8, 1. / 8}),
                                              logits_of({1. / 16, 1. / 16, 1. / 4, 5. / 8}), kUniform[2], kUniform[3]};
const QualityWorkload kPassages{.passages = {{0, 1, 2}, {0, 0}}, .prompts = {}};

TEST(Quality, ScoresByHand) {
  FakeEngine uniform(kUniform), skewed(kSkewed);
  const std::vector<NamedEngine> engines{{"base", &uniform}, {"format", &skewed}};
  const QualityReport report = measure_quality(engines, kPassages);
  ASSERT_EQ(report.formats.size(), 2u);

  const RecordQuality& base = report.formats[0].quality;
  EXPECT_NEAR(base.perplexity, 4, 1e-12);
  EXPECT_NEAR(base.perplexity_se, 0, 1e-12);
  EXPECT_EQ(base.perplexity_ratio, 1);
  EXPECT_EQ(base.perplexity_ratio_se, 0);
  EXPECT_EQ(base.tokens_scored, 3);
  EXPECT_EQ(base.kld.max, 0);
  EXPECT_EQ(base.top1_agreement, 1);
  EXPECT_EQ(base.delta_p_rms, 0);

  // True tokens: 1 after 0, 2 after 1, 0 after 0: probabilities 1/4, 1/4, 1/2; nll 2, 2 and 1 times log 2.
  const RecordQuality& format = report.formats[1].quality;
  const double log2 = std::log(2.0);
  // By passage (2, 2) and (1) off the mean 5/3: 2/3 and -2/3, so sqrt(2/1 * (4/9 + 4/9)) / 3. Taken as three tokens it
  // would be 1/3. The baseline's are 2 each: the same for the difference.
  const double se = log2 * 4 / 9;
  EXPECT_NEAR(format.perplexity, std::exp2(5. / 3), kLogitError);
  EXPECT_NEAR(format.perplexity_se, std::exp2(5. / 3) * se, kLogitError);
  EXPECT_NEAR(format.perplexity_ratio, std::exp2(-1. / 3), kLogitError);
  EXPECT_NEAR(format.perplexity_ratio_se, std::exp2(-1. / 3) * se, kLogitError);
  // KLD after 0: 1/4 (log(1/2) + 0 + log 2 + log 2); after 1: 1/4 (log 4 + log 4 + 0 + log(2/5)).
  const double after_0 = log2 / 4, after_1 = (4 * log2 - std::log(2.5)) / 4;
  EXPECT_NEAR(format.kld.mean, (2 * after_0 + after_1) / 3, kLogitError);
  EXPECT_NEAR(format.kld.p50, after_0, kLogitError);
  EXPECT_NEAR(format.kld.max, after_1, kLogitError);
  EXPECT_DOUBLE_EQ(format.top1_agreement, 2. / 3);  // after 1 the likeliest is 3, not 0
  EXPECT_NEAR(format.delta_p_mean, 0.25 / 3, kLogitError);
  EXPECT_NEAR(format.delta_p_rms, 0.25 / std::sqrt(3.0), kLogitError);
}

std::vector<std::vector<float>> random_table(int n, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> table(static_cast<size_t>(n), std::vector<float>(static_cast<size_t>(n)));
  for (auto& row : table)
    for (float& x : row) x = normal(random);
  return table;
}

TEST(Quality, TailOfTheKld) {
  const auto p = random_table(50, 1), q = random_table(50, 2);
  FakeEngine base(p), format(q);
  QualityWorkload workload{.passages = {{}}, .prompts = {}};
  std::vector<double> kld;
  for (int32_t token = 0; token < 50; ++token) {
    workload.passages[0].push_back(token);
    const auto row = static_cast<size_t>(token);
    if (token < 49) kld.push_back(kl_divergence(p[row], log_sum_exp(p[row]), q[row], log_sum_exp(q[row])));
  }
  const std::vector<NamedEngine> engines{{"base", &base}, {"format", &format}};
  const QualityReport report = measure_quality(engines, workload);
  const RecordKld& got = report.formats[1].quality.kld;
  EXPECT_DOUBLE_EQ(got.mean, mean(kld));
  EXPECT_DOUBLE_EQ(got.p50, quantile(kld, 0.5));
  EXPECT_DOUBLE_EQ(got.p90, quantile(kld, 0.9));
  EXPECT_DOUBLE_EQ(got.p95, quantile(kld, 0.95));
  EXPECT_DOUBLE_EQ(got.p99, quantile(kld, 0.99));
  EXPECT_DOUBLE_EQ(got.p999, quantile(kld, 0.999));
  EXPECT_DOUBLE_EQ(got.max, quantile(kld, 1));
}

TEST(Quality, GroupsOfPassagesChangeNothing) {
  FakeEngine base(random_table(10, 3)), format(random_table(10, 4));
  std::vector<std::vector<int32_t>> passages;
  for (int32_t i = 0; i < 7; ++i) {
    passages.emplace_back();
    for (int32_t j = 0; j < 2 + i; ++j) passages.back().push_back((3 * i + 7 * j) % 10);
  }
  const std::vector<Scorer> scorers{{"base", &base, 0}, {"format", &format, 0}};
  const auto whole = score_passages(scorers, passages, {});
  std::vector<int64_t> done;
  const auto pairs = score_passages(
      scorers, passages, [&](std::string_view, int64_t n, int64_t) { done.push_back(n); }, 0);
  EXPECT_EQ(done, (std::vector<int64_t>{0, 2, 4, 6, 8, 10, 12, 13, 14}));
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(whole[i].nll.size(), 28u);
    EXPECT_EQ(whole[i].nll, pairs[i].nll);
    EXPECT_EQ(whole[i].kld, pairs[i].kld);
    EXPECT_EQ(whole[i].delta_p, pairs[i].delta_p);
    EXPECT_EQ(whole[i].same_top1, pairs[i].same_top1);
  }
}

TEST(Quality, NoiseFloorIsTheBaselineAtAnotherBatchSize) {
  FakeEngine engine(kUniform);
  const std::vector<NamedEngine> engines{{"base", &engine}};
  const RecordQuality quiet = measure_quality(engines, kPassages).noise_floor;
  EXPECT_EQ(quiet.kld.max, 0);
  EXPECT_EQ(quiet.perplexity_ratio, 1);
  EXPECT_EQ(quiet.top1_agreement, 1);
  EXPECT_EQ(quiet.tokens_scored, 3);

  engine.set_batch_error(1);  // batched: (e, 1, 1, 1) / (e + 3)
  const double p0 = std::exp(1.0) / (std::exp(1.0) + 3), p1 = (1 - p0) / 3;
  const RecordQuality noisy = measure_quality(engines, kPassages).noise_floor;
  EXPECT_NEAR(noisy.kld.mean, p0 * std::log(4 * p0) + 3 * p1 * std::log(4 * p1), 1e-12);
  EXPECT_NEAR(noisy.perplexity, 4, 1e-12);
}

// Greedy: 0 -> 1 -> 2 -> 3 -> 3 ...
std::vector<std::vector<float>> chain(int32_t after_2) {
  std::vector<std::vector<float>> table = kUniform;
  table[0][1] = table[1][2] = table[3][3] = 9;
  table[2][static_cast<size_t>(after_2)] = 9;
  return table;
}

TEST(Quality, OutputsBesideTheBaselines) {
  FakeEngine base(chain(3)), same(chain(3)), other(chain(0)), endless(chain(3));
  for (FakeEngine* engine : {&base, &same, &other}) engine->set_eos(3);
  const std::vector<NamedEngine> engines{{"base", &base}, {"same", &same}, {"other", &other}, {"endless", &endless}};
  QualityWorkload workload = kPassages;
  workload.prompts = {{"from zero", {0}}, {"from one", {0, 1}}};
  workload.max_tokens = 30;
  const QualityReport report = measure_quality(engines, workload);

  const auto& outputs = [&](size_t i) -> const std::vector<RecordOutput>& { return report.formats[i].quality.outputs; };
  ASSERT_EQ(outputs(0).size(), 2u);
  EXPECT_EQ(outputs(0)[0].prompt, "from zero");
  EXPECT_EQ(outputs(0)[0].text, "bcd");
  EXPECT_EQ(outputs(0)[1].prompt, "from one");
  EXPECT_EQ(outputs(0)[1].text, "cd");
  EXPECT_FALSE(outputs(0)[0].first_divergence);
  EXPECT_FALSE(outputs(1)[0].first_divergence);
  EXPECT_EQ(outputs(2)[0].first_divergence, 2);  // b c a
  EXPECT_EQ(outputs(2)[1].first_divergence, 1);  // c a
  EXPECT_EQ(outputs(3)[0].first_divergence, 3);  // b c d d: where the baseline had ended
  EXPECT_EQ(report.formats[0].quality.n_garbage, 0);
  EXPECT_EQ(report.formats[3].quality.n_garbage, 2);
  EXPECT_TRUE(outputs(3)[0].garbage);
  EXPECT_EQ(outputs(3)[0].garbage_reason, "a loop of 1 token from token 3 on");
  EXPECT_TRUE(report.noise_floor.outputs.empty());
}

std::string message_of(std::span<const NamedEngine> engines, const QualityWorkload& workload) {
  try {
    measure_quality(engines, workload);
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(Quality, Refusals) {
  FakeEngine four(kUniform), two({{0, 0}, {0, 0}});
  auto broken_table = kUniform;
  broken_table[1][3] = NAN;
  FakeEngine broken(broken_table);
  const std::vector<NamedEngine> base{{"base", &four}}, mixed{{"base", &four}, {"two", &two}},
      bad{{"base", &four}, {"fp8", &broken}};
  EXPECT_EQ(message_of({}, kPassages), "quality: wanted at least one engine, got none");
  EXPECT_EQ(message_of(base, {}), "quality: wanted at least one passage, got none");
  EXPECT_EQ(message_of(base, {.passages = {{0, 1}, {0}}, .prompts = {}}),
            "quality: passage 1: wanted at least 2 tokens, got 1");
  EXPECT_EQ(message_of(mixed, kPassages), "quality: two: vocabulary: wanted 4 as base has, got 2");
  EXPECT_EQ(message_of(bad, kPassages), "quality: fp8: passage 0, position 1: wanted finite logits, got nan");
}

}  // namespace
}  // namespace trimeter
