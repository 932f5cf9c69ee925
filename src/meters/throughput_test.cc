#include "meters/throughput.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "meters/fake_engine.h"

namespace trimeter {
namespace {

const std::vector<std::vector<float>> kNext{{0, 1}, {1, 0}};
const std::vector<std::vector<int32_t>> kPrompts{{0, 1, 0}, {1, 1, 1, 1, 0}};

TEST(Throughput, RoundsAreInterleavedRotatedAndStartWithAnEmptyPrefixCache) {
  std::vector<std::string> journal;
  FakeEngine a(kNext, &journal, "a"), b(kNext, &journal, "b"), c(kNext, &journal, "c");
  const std::vector<NamedEngine> engines{{"a", &a}, {"b", &b}, {"c", &c}};
  std::vector<int64_t> progress;
  measure_throughput(engines, kPrompts, {.max_tokens = 3, .rounds = 5, .warmup = 1},
                     [&](std::string_view, int64_t done, int64_t total) {
                       progress.push_back(done);
                       EXPECT_EQ(total, 18);
                     });
  std::vector<std::string> want;
  for (const char* round : {"abc", "bca", "cab", "abc", "bca", "cab"})
    for (const char* name = round; *name != '\0'; ++name) {
      want.push_back(std::string(1, *name) + " reset");
      want.push_back(std::string(1, *name) + " run");
    }
  EXPECT_EQ(journal, want);
  ASSERT_EQ(progress.size(), 19u);
  for (int64_t i = 0; i < 19; ++i) EXPECT_EQ(progress[static_cast<size_t>(i)], i);
}

TEST(Throughput, AProfileIsTakenOfEachCountedRun) {
  std::vector<std::string> journal;
  FakeEngine a(kNext, &journal, "a"), b(kNext, &journal, "b");
  const std::vector<NamedEngine> engines{{"a", &a}, {"b", &b}};
  for (const Throughput& result : measure_throughput(engines, kPrompts, {.max_tokens = 3, .rounds = 1, .warmup = 1}))
    EXPECT_TRUE(result.profiles.empty());
  EXPECT_EQ(std::ranges::count(journal, "a profile"), 0);
  journal.clear();
  const std::vector<Throughput> results =
      measure_throughput(engines, kPrompts, {.max_tokens = 3, .rounds = 1, .warmup = 1, .profile = true});
  const std::vector<std::string> want{"a reset", "a run",   "b reset", "b run",     "b reset", "b profile",
                                      "b run",   "b taken", "a reset", "a profile", "a run",   "a taken"};
  EXPECT_EQ(journal, want);
  for (const Throughput& result : results) {
    ASSERT_EQ(result.profiles.size(), 1u);
    EXPECT_EQ(result.profiles[0].prefill.seconds, FakeEngine::kPrefillS);
  }
}

TEST(Throughput, FiguresByHand) {
  FakeEngine a(kNext), b(kNext);
  b.set_prefill_sleep(std::chrono::milliseconds(2));
  const std::vector<NamedEngine> engines{{"a", &a}, {"b", &b}};
  const std::vector<Throughput> results =
      measure_throughput(engines, kPrompts, {.max_tokens = 3, .rounds = 7, .warmup = 0});
  ASSERT_EQ(results.size(), 2u);
  for (const Throughput& result : results) {
    // Two requests: two steps without prompt tokens give 4 tokens in 0.25 s; 8 prompt tokens take 0.25 s.
    EXPECT_EQ(result.decode_tokens_per_s.samples, std::vector<double>(7, 16));
    EXPECT_EQ(result.prompt_tokens_per_s.samples, std::vector<double>(7, 32));
    EXPECT_EQ(result.ttft_s.samples, std::vector<double>(7, FakeEngine::kPrefillS));
    EXPECT_EQ(result.itl_s.samples, std::vector<double>(7, FakeEngine::kDecodeStepS));
    EXPECT_EQ(result.ttft_s.median, FakeEngine::kPrefillS);
    EXPECT_EQ(result.generation_tokens_per_s.samples.size(), 7u);
  }
  EXPECT_EQ(results[0].format, "a");
  EXPECT_EQ(results[1].format, "b");
  EXPECT_FALSE(results[0].ratio_to_baseline);
  ASSERT_TRUE(results[1].ratio_to_baseline);
  for (size_t i = 0; i < 7; ++i) {
    const double mine = results[1].generation_tokens_per_s.samples[i];
    EXPECT_LE(mine, 2 * 3 / 0.002);  // the whole run counts, and its prefill slept
    EXPECT_EQ(results[1].ratio_to_baseline->samples[i], mine / results[0].generation_tokens_per_s.samples[i]);
  }
}

TEST(Throughput, WhatDidNotHappenHasNoSamples) {
  FakeEngine a(kNext);
  const std::vector<NamedEngine> engines{{"a", &a}};
  const Throughput result = measure_throughput(engines, kPrompts, {.max_tokens = 1, .rounds = 5})[0];
  EXPECT_TRUE(result.decode_tokens_per_s.samples.empty());
  EXPECT_TRUE(result.itl_s.samples.empty());
  EXPECT_EQ(result.prompt_tokens_per_s.samples.size(), 5u);
}

TEST(Throughput, EosDoesNotEndARun) {
  FakeEngine a(kNext);
  a.set_eos(1);
  const std::vector<NamedEngine> engines{{"a", &a}};
  const Throughput result = measure_throughput(engines, kPrompts, {.max_tokens = 3, .rounds = 5})[0];
  EXPECT_EQ(result.decode_tokens_per_s.samples, std::vector<double>(5, 16));
}

TEST(Throughput, Refusals) {
  FakeEngine a(kNext);
  const std::vector<NamedEngine> engines{{"a", &a}};
  const auto message = [&](std::span<const NamedEngine> of, std::span<const std::vector<int32_t>> prompts,
                           ThroughputOptions options) -> std::string {
    try {
      measure_throughput(of, prompts, options);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Errc::kBadArgument);
      return e.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message({}, kPrompts, {}), "throughput: wanted at least one engine, got none");
  EXPECT_EQ(message(engines, {}, {}), "throughput: wanted at least one prompt, got none");
  EXPECT_EQ(message(engines, kPrompts, {.rounds = 0}), "throughput: rounds: wanted at least 1, got 0");
  EXPECT_EQ(message(engines, kPrompts, {.max_tokens = 0}),
            "throughput: wanted warmup >= 0 and max_tokens >= 1, got 1 and 0");
  EXPECT_EQ(message(engines, kPrompts, {.max_tokens = 60}),
            "throughput: prompt 1 with max_tokens 60: wanted at most 64 tokens, got 65");
  EXPECT_EQ(message(engines, kPrompts, {.max_tokens = 59, .rounds = 5}), "accepted");
}

}  // namespace
}  // namespace trimeter
