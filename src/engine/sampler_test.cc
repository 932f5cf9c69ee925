#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>

#include "base/error.h"
#include "kernels/draw_rule.h"
#include "spec/ledger.h"

namespace trimeter {
namespace {

const std::vector<float> kLogits = {1.0f, 3.0f, -2.0f, 3.0f, 0.5f, 2.0f};

std::vector<double> softmax(const std::vector<float>& logits, double temperature) {
  std::vector<double> p;
  double sum = 0;
  for (const float x : logits) sum += p.emplace_back(std::exp(x / temperature));
  for (double& x : p) x /= sum;
  return p;
}

// Which tokens come out over a grid of draws.
std::set<int32_t> support(const std::vector<float>& logits, const SamplingParams& params,
                          const std::vector<int32_t>& tokens = {}) {
  Sampler sampler(static_cast<int32_t>(logits.size()));
  std::set<int32_t> result;
  for (int i = 0; i < 2000; ++i) result.insert(sampler.sample(logits, params, tokens, i / 2000.0));
  return result;
}

using Tokens = std::set<int32_t>;

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Sampler sampler(6);
  EXPECT_EQ(sampler.sample(kLogits, {.temperature = 0}, {}, 0.99), 1);
  EXPECT_EQ(sampler.sample(kLogits, {.temperature = 9e-6}, {}, 0.99), 1);
}

TEST(Sampler, RepetitionPenaltyOncePerTokenWhateverTheSign) {
  Sampler sampler(6);
  const SamplingParams params{.temperature = 0, .repetition_penalty = 1.4};
  EXPECT_EQ(sampler.sample(kLogits, params, std::vector<int32_t>{1}, 0), 3);
  // 3 / 1.4 = 2.14 still beats 2.0; were it divided for each occurrence, 3 / 1.96 = 1.53 would not.
  EXPECT_EQ(sampler.sample(kLogits, params, std::vector<int32_t>{1, 1, 3, 3}, 0), 1);
  // Negative logits move away from zero: -1 * 1.4 is below -1.2.
  const std::vector<float> negative = {-1.0f, -1.2f};
  EXPECT_EQ(Sampler(2).sample(negative, params, std::vector<int32_t>{0}, 0), 1);
  EXPECT_EQ(sampler.sample(kLogits, {.temperature = 0}, std::vector<int32_t>{1}, 0), 1) << "the scratch is not reused";
}

TEST(Sampler, FiltersKeepWhatTheyShould) {
  EXPECT_EQ(support(kLogits, {.top_k = 1}), (Tokens{1, 3})) << "equals of the k-th stay, as in vLLM";
  EXPECT_EQ(support(kLogits, {.top_k = 3}), (Tokens{1, 3, 5}));
  EXPECT_EQ(support(kLogits, {.top_k = 0}).size(), 6u);
  EXPECT_EQ(support(kLogits, {.top_k = -1}).size(), 6u);
  const std::vector<double> p = softmax(kLogits, 1);  // 1 and 3: 0.385 each, 5: 0.142, 0: 0.052, 4: 0.032, 2: 0.003
  EXPECT_EQ(support(kLogits, {.top_p = p[1] - 1e-9}), (Tokens{1}));
  EXPECT_EQ(support(kLogits, {.top_p = p[1] + 1e-9}), (Tokens{1, 3}));
  EXPECT_EQ(support(kLogits, {.top_p = 2 * p[1] + p[5] + 1e-9}), (Tokens{0, 1, 3, 5}));
  EXPECT_EQ(support(kLogits, {.min_p = p[5] / p[1] - 1e-9}), (Tokens{1, 3, 5}));
  EXPECT_EQ(support(kLogits, {.min_p = p[5] / p[1] + 1e-9}), (Tokens{1, 3}));
  EXPECT_EQ(support(kLogits, {.min_p = 1}), (Tokens{1, 3}));
}

TEST(Sampler, FiltersComeInVllmsOrder) {
  // Temperature before min_p: at 4, token 5 has exp(-1/4) = 0.78 of the top; at 1 it has 0.37.
  EXPECT_TRUE(support(kLogits, {.temperature = 4, .min_p = 0.7}).contains(5));
  EXPECT_FALSE(support(kLogits, {.temperature = 1, .min_p = 0.7}).contains(5));
  // top_k before top_p: of the three that top_k leaves, two have 0.844; of all six only 0.770.
  EXPECT_EQ(support(kLogits, {.top_k = 3, .top_p = 0.8}), (Tokens{1, 3}));
  EXPECT_EQ(support(kLogits, {.top_p = 0.8}), (Tokens{1, 3, 5}));
}

TEST(Sampler, DrawsFollowTheDistribution) {
  for (const double temperature : {0.5, 1.0, 2.0}) {
    for (const bool filtered : {false, true}) {
      Sampler sampler(6);
      SamplingParams params{.temperature = temperature};
      std::vector<double> p = softmax(kLogits, temperature);
      if (filtered) {  // drops 2 and 4, renormalises
        params.top_k = 4;
        const double kept = 1 - p[2] - p[4];
        p[2] = p[4] = 0;
        for (double& x : p) x /= kept;
      }
      constexpr int kDraws = 20000;
      std::map<int32_t, int> counts;
      for (int i = 0; i < kDraws; ++i) ++counts[sampler.sample(kLogits, params, {}, uniform_draw(1234, i))];
      double chi2 = 0;
      for (int32_t token = 0; token < 6; ++token) {
        const double expected = p[static_cast<size_t>(token)] * kDraws;
        if (expected == 0) {
          EXPECT_EQ(counts[token], 0);
          continue;
        }
        chi2 += (counts[token] - expected) * (counts[token] - expected) / expected;
      }
      EXPECT_LT(chi2, 25.7) << "temperature " << temperature;  // 99.99% point with 5 degrees of freedom
    }
  }
}

TEST(Sampler, DrawsDependOnKeyAndCountAlone) {
  EXPECT_EQ(uniform_draw(7, 3), uniform_draw(7, 3));
  std::set<double> seen;
  double sum = 0;
  for (uint64_t key = 0; key < 100; ++key)
    for (int64_t i = 0; i < 100; ++i) {
      const double u = uniform_draw(key, i);
      ASSERT_TRUE(u >= 0 && u < 1);
      seen.insert(u);
      sum += u;
    }
  EXPECT_EQ(seen.size(), 10000u);
  EXPECT_NEAR(sum / 10000, 0.5, 4 / std::sqrt(12 * 10000.0));  // four standard errors
}

TEST(Sampler, LogprobsAreOfTheRawDistribution) {
  Sampler sampler(6);
  std::vector<TokenLogprob> result;
  sampler.logprobs(kLogits, 5, 3, result);
  const std::vector<double> p = softmax(kLogits, 1);
  ASSERT_EQ(result.size(), 4u);
  const int32_t tokens[] = {5, 1, 3, 5};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(result[i].token, tokens[i]);
    // Stored in float: half an ulp of a value below 4.
    EXPECT_NEAR(result[i].logprob, std::log(p[static_cast<size_t>(tokens[i])]), 0x1p-23);
  }
  result.clear();
  sampler.logprobs(kLogits, 2, 0, result);
  EXPECT_EQ(result.size(), 1u);
  result.clear();
  sampler.logprobs(kLogits, 2, 100, result);
  EXPECT_EQ(result.size(), 7u) << "no more than the vocabulary";
}

TEST(Sampler, LargeVocabularyAgreesWithASortedReference) {
  constexpr int32_t kVocab = 5000;
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> logits(kVocab);
  for (float& x : logits) x = normal(random);
  Sampler sampler(kVocab);
  for (const auto& [top_k, top_p] : {std::pair{50, 1.0}, {0, 0.9}, {200, 0.7}, {5000, 0.999}}) {
    std::vector<int32_t> order(kVocab);
    for (int32_t i = 0; i < kVocab; ++i) order[static_cast<size_t>(i)] = i;
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[size_t(a)] > logits[size_t(b)]; });
    if (top_k > 0) order.resize(static_cast<size_t>(top_k));
    double total = 0, sum = 0;
    for (const int32_t token : order) total += std::exp(double(logits[size_t(token)]));
    size_t n_kept = 0;
    while (n_kept < order.size() && sum < top_p * total) sum += std::exp(double(logits[size_t(order[n_kept++])]));
    const Tokens kept(order.begin(), order.begin() + static_cast<int64_t>(n_kept));
    for (int i = 0; i < 500; ++i)
      ASSERT_TRUE(kept.contains(sampler.sample(logits, {.top_k = top_k, .top_p = top_p}, {}, uniform_draw(9, i))));
    // The last token in order of ids has the last piece of the unit interval.
    EXPECT_EQ(sampler.sample(logits, {.top_k = top_k, .top_p = top_p}, {}, std::nextafter(1.0, 0.0)), *kept.rbegin());
  }
}

// kernels/draw_rule.h, one step after another, as a card draws.
int32_t drawn_in_integers(const std::vector<float>& logits, const SamplingParams& params, double uniform) {
  std::vector<uint64_t> keys;
  for (int32_t token = 0; token < std::ssize(logits); ++token) keys.push_back(draw_key(logits[size_t(token)], token));
  std::ranges::sort(keys, std::greater());
  const DrawWeight weight{logit_of_key(keys[0]), 1 / params.temperature, params.min_p};
  const auto weight_of_key = [&](uint64_t key) { return weight(logit_of_key(key)); };
  const auto sum_of_keys = [&] {
    uint64_t sum = 0;
    for (const uint64_t key : keys) sum += weight_of_key(key);
    return sum;
  };
  const auto keep_from = [&](float least) {
    std::erase_if(keys, [&](uint64_t key) { return logit_of_key(key) < least; });
  };
  keep_from(weight.floor());
  if (params.top_k > 0 && params.top_k < std::ssize(keys)) keep_from(logit_of_key(keys[size_t(params.top_k - 1)]));
  if (params.top_p < 1) {
    const uint64_t total = sum_of_keys(), wanted = top_p_wanted(params.top_p, total);
    if (const uint64_t spared = (total - wanted) / logits.size(); spared > 0)
      keep_from(weight.floor_of(double(spared)));
    size_t n = 0;
    for (uint64_t sum = 0; sum < wanted; ++n) sum += weight_of_key(keys.at(n));
    keys.resize(n);
  }
  const uint64_t drawn = drawn_sum(uniform, sum_of_keys());
  std::ranges::sort(keys, {}, token_of_key);
  uint64_t sum = 0;
  for (const uint64_t key : keys)
    if ((sum += weight_of_key(key)) > drawn) return token_of_key(key);
  return -1;
}

TEST(Sampler, InIntegersTheSameIsDrawn) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    const int32_t vocab = std::vector{1, 2, 50, 1000}[round % 4];
    std::normal_distribution<float> normal(0, std::vector{1.0f, 4.0f, 100.0f}[random() % 3]);
    std::vector<float> logits(static_cast<size_t>(vocab));
    for (float& x : logits) x = round % 3 == 0 ? std::round(normal(random)) : normal(random);  // ties
    SamplingParams params{.temperature = std::vector{1.0, 0.7, 5.0, 1e-5, 1e30}[random() % 5]};
    if (random() % 2 == 0) params.top_k = std::vector{1, 2, 20, 100000}[random() % 4];
    if (random() % 2 == 0) params.top_p = std::vector{1e-300, 0.1, 0.5, 0.9, 1 - 1e-12}[random() % 5];
    if (random() % 3 == 0) params.min_p = std::vector{1e-6, 0.05, 1.0}[random() % 3];
    Sampler sampler(vocab);
    for (int i = 0; i < 5; ++i) {
      const double uniform = uniform_draw(static_cast<uint64_t>(round), i);
      EXPECT_EQ(drawn_in_integers(logits, params, uniform), sampler.sample(logits, params, {}, uniform))
          << "vocabulary " << vocab << ", temperature " << params.temperature << ", top_k " << params.top_k
          << ", top_p " << params.top_p << ", min_p " << params.min_p << ", uniform " << uniform;
    }
  }
}

TEST(Sampler, NeverDrawsWhatHasNoProbability) {
  // exp(-2000) is 0 in double: the largest draw below 1 must still find a token that can be.
  const std::vector<float> logits = {1000, 1000, -1000};
  EXPECT_EQ(Sampler(3).sample(logits, {}, {}, std::nextafter(1.0, 0.0)), 1);
}

TEST(Sampler, RefusesLogitsThatAreNoNumbers) {
  const auto message = [](std::vector<float> logits, const SamplingParams& params) -> std::string {
    try {
      Sampler(3).sample(logits, params, std::vector<int32_t>{1}, 0.5);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kUnsupported);
      return error.what();
    }
    return "";
  };
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const double temperature : {0.0, 1.0}) {
    EXPECT_EQ(message({0, 1, NAN}, {.temperature = temperature}), "token 2: wanted a finite logit, got NaN");
    EXPECT_EQ(message({0, kInfinity, 1}, {.temperature = temperature}),
              "token 1: wanted a finite logit, got an infinity");
    EXPECT_EQ(message({-kInfinity, 1, 1}, {.temperature = temperature}),
              "token 0: wanted a finite logit, got an infinity");
    EXPECT_EQ(message({0, -1e30f, 1}, {.temperature = temperature, .repetition_penalty = 1e20}),
              "token 1: wanted a finite logit, got an infinity");
    EXPECT_EQ(message({-3e38f, 3e38f, 0}, {.temperature = temperature}), "");
  }
}

TEST(Sampler, ParametersOutOfRangeAreNamed) {
  const auto message = [](const SamplingParams& params) -> std::string {
    try {
      check_sampling_params(params);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadArgument);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({}), "");
  EXPECT_EQ(message({.temperature = -1}), "temperature = -1: wanted a number >= 0");
  EXPECT_EQ(message({.temperature = std::nan("")}), "temperature = nan: wanted a number >= 0");
  EXPECT_EQ(message({.top_k = -2}), "top_k = -2: wanted -1, 0 (all) or a count");
  EXPECT_EQ(message({.top_p = 0}), "top_p = 0: wanted a number in (0, 1]");
  EXPECT_EQ(message({.min_p = 1.5}), "min_p = 1.5: wanted a number in [0, 1]");
  EXPECT_EQ(message({.repetition_penalty = 0}), "repetition_penalty = 0: wanted a number > 0");
  EXPECT_EQ(message({.max_tokens = 0}), "max_tokens = 0: wanted at least 1");
  EXPECT_EQ(message({.stop = {"a", ""}}), "stop: an empty string would stop everything");
  EXPECT_EQ(message({.logprobs = -2}), "logprobs = -2: wanted -1 (none) or a count");
}

TEST(Sampler, TakesWhatTheLedgerSays) {
  ModelSpec model;
  model.vocab_size = 4096;
  EXPECT_EQ(Sampler(4096).bytes(), sampler_bytes(model));
}

}  // namespace
}  // namespace trimeter
