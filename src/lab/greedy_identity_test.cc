// Greedy tokens do not depend on what else is scheduled: the same prompts alone, batched, in chunks, preempted and from
// the prefix cache, in every format. The engine's own loop and kernels run on weights that are loaded (and searched,
// for AWQ) once a format; every condition is asserted to have come about.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <regex>
#include <set>

#include "base/log.h"
#include "engine/loop.h"
#include "lab/evaluation_set.h"
#include "lab/subject.h"
#include "model/forward_harness.h"

namespace trimeter {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
// Some fifty times slower: fewer prompts, and codes without AWQ's search. 17 tokens always begin a block.
constexpr bool kSlow = true;
constexpr int32_t kPrompts = 4, kTokens = 17, kTinyPrompts = 4;
#else
constexpr bool kSlow = false;
constexpr int32_t kPrompts = 16, kTokens = 32, kTinyPrompts = 16;
#endif
constexpr int32_t kBlock = 16, kChunk = 4;

[[maybe_unused]] const bool kQuiet = (init_logging("warning"), true);

// Every row, and a 16-bit one with each KV format.
const std::vector<Format>& tested_formats() {
  static const std::vector<Format> formats = [] {
    std::vector<Format> rows(all_formats().begin(), all_formats().end());
    for (const KvFormat& kv : all_kv_formats()) rows.push_back(format("bf16+" + kv.name));
    return rows;
  }();
  return formats;
}

using Tokens = std::vector<std::vector<int32_t>>;

int32_t blocks_for(int64_t n_tokens) { return static_cast<int32_t>((n_tokens + kBlock - 1) / kBlock); }

class Runner : public StepRunner {
 public:
  Runner(const ModelWeights& weights, const EngineLimits& limits, int64_t n_blocks, ThreadPool& pool, Isa isa)
      : forward_(weights, limits, pool, isa),
        layout_(kv_layout(weights.spec, weights.format, limits.block_size)),
        blocks_(n_blocks * layout_.block_bytes()) {}
  void run(const StepBatch& batch) override {
    most_seqs_ = std::max(most_seqs_, batch.seqs.size());
    for (const StepSeq& seq : batch.seqs) most_rows_ = std::max(most_rows_, seq.n_rows);
    forward_.run(batch, {layout_, blocks_.data()});
  }
  std::span<const float> logits(std::span<const int32_t> rows) override { return forward_.logits(rows); }
  size_t most_seqs() const { return most_seqs_; }
  int32_t most_rows() const { return most_rows_; }  // of one sequence in one step

 private:
  Forward forward_;
  KvLayout layout_;
  Buffer blocks_;
  size_t most_seqs_ = 0;
  int32_t most_rows_ = 0;
};

struct Setup {
  Setup(const ModelWeights& weights, const EngineLimits& limits, int64_t n_blocks, ThreadPool& pool, Isa isa)
      : runner(weights, limits, n_blocks, pool, isa),
        loop(
            limits, n_blocks, {limits.max_model_len, static_cast<int32_t>(weights.spec.vocab_size), {}},
            [](int32_t) { return std::string_view(); }, runner) {}

  Tokens generate(std::span<const std::vector<int32_t>> prompts, int32_t n_tokens) {
    for (size_t i = 0; i < prompts.size(); ++i)
      loop.submit({.id = std::to_string(i),
                   .prompt = prompts[i],
                   .sampling = {.temperature = 0, .max_tokens = n_tokens, .ignore_eos = true}});
    Tokens tokens(prompts.size());
    for (bool busy = true; busy;) {
      Engine::StepResult result = loop.step();
      busy = result.busy;
      for (RequestOutput& output : result.finished) tokens[std::stoul(output.id)] = std::move(output.tokens);
    }
    return tokens;
  }

  Runner runner;
  EngineLoop loop;
};

void expect_identity(const ModelWeights& weights, const Tokens& prompts, int32_t n_tokens, Isa isa) {
  int64_t n_shortest = 1 << 20, n_longest = 0, n_blocks = 0, n_cacheable = 0;
  for (const std::vector<int32_t>& prompt : prompts) {
    n_shortest = std::min(n_shortest, std::ssize(prompt));
    n_longest = std::max(n_longest, std::ssize(prompt));
    n_blocks += blocks_for(std::ssize(prompt) + n_tokens);
    n_cacheable += (std::ssize(prompt) - 1) / kBlock * kBlock;  // all full blocks but for the last token
  }
  const auto n_prompts = static_cast<int32_t>(prompts.size());
  EngineLimits limits{.max_model_len = static_cast<int32_t>(n_longest) + n_tokens,
                      .max_num_seqs = n_prompts,
                      .max_num_batched_tokens = 256,
                      .block_size = kBlock};
  ThreadPool one(1), two(2);
  Setup roomy(weights, limits, n_blocks, one, isa);
  Tokens want;
  for (const std::vector<int32_t>& prompt : prompts) {
    roomy.loop.reset_prefix_cache();
    want.push_back(roomy.generate({&prompt, 1}, n_tokens)[0]);
  }
  for (const std::vector<int32_t>& tokens : want) ASSERT_EQ(std::ssize(tokens), n_tokens);
  EXPECT_GT(std::set(want.begin(), want.end()).size(), want.size() / 2) << "the model says the same to everything";
  EXPECT_EQ(roomy.runner.most_seqs(), 1u);
  EXPECT_EQ(roomy.loop.stats().n_prefix_hits, 0);

  roomy.loop.reset_prefix_cache();
  EXPECT_EQ(roomy.generate(prompts, n_tokens), want) << "batched";
  EXPECT_EQ(roomy.runner.most_seqs(), prompts.size());

  const int64_t n_hits = roomy.loop.stats().n_prefix_hits;
  EXPECT_EQ(roomy.generate(prompts, n_tokens), want) << "from the prefix cache";
  EXPECT_EQ(roomy.loop.stats().n_prefix_hits - n_hits, n_cacheable);
  EXPECT_GT(n_cacheable, 0);
  EXPECT_EQ(roomy.loop.stats().n_preemptions, 0);

  // As few blocks as one longest sequence needs, and two more.
  const int64_t n_few = blocks_for(limits.max_model_len) + 2;
  ASSERT_LT(n_few, n_blocks);
  Setup tight(weights, limits, n_few, one, isa);
  EXPECT_EQ(tight.generate(prompts, n_tokens), want) << "preempted";
  EXPECT_GT(tight.loop.stats().n_preemptions, 0);

  limits.max_num_seqs = limits.max_num_batched_tokens = kChunk;
  Setup chunked(weights, limits, n_blocks, two, isa);
  EXPECT_EQ(chunked.generate(prompts, n_tokens), want) << "in chunks, on two threads";
  EXPECT_LE(chunked.runner.most_rows(), kChunk);
  EXPECT_GT(n_shortest, kChunk) << "a prompt that is no longer than a chunk";
}

std::string test_name(const Format& row) {
  return std::regex_replace(std::string(row.name), std::regex("[^a-zA-Z0-9]"), "_");
}

class OnTheDemoModel : public testing::TestWithParam<size_t> {};
INSTANTIATE_TEST_SUITE_P(Formats, OnTheDemoModel, testing::Range(size_t{0}, tested_formats().size()),
                         [](const auto& which) { return test_name(tested_formats()[which.param]); });

TEST_P(OnTheDemoModel, GreedyTokensAreThoseOfAPromptAlone) {
  const Subject subject = read_subject(source_dir() / "models/demo");
  const EvaluationSet set = read_evaluation_set(source_dir() / "data");
  Tokens prompts;
  for (const EvaluationPrompt& prompt : interleaved_prompts(set, kPrompts))
    prompts.push_back(prompt.chat ? subject.encode_chat({{"user", prompt.prompt}})
                                  : subject.encode_text(prompt.prompt));

  const Format listed = with_gguf_mixture(tested_formats()[GetParam()], subject.spec);
  const Format row = kSlow ? rtn_format(listed, subject.spec) : listed;
  LoadOptions options;
  for (size_t i = 0; i < 4; ++i) options.calibration.push_back(subject.encode_text(set.calibration[i]));
  ThreadPool pool(2);
  const ModelWeights weights = load_weights(subject.directory, subject.spec, row, options, pool);
  expect_identity(weights, prompts, kTokens, active_isa());
}

class OnEveryIsa : public testing::TestWithParam<std::tuple<size_t, Isa>> {};
INSTANTIATE_TEST_SUITE_P(Formats, OnEveryIsa,
                         testing::Combine(testing::Range(size_t{0}, tested_formats().size()),
                                          testing::ValuesIn(runnable_isas())),
                         [](const auto& which) {
                           return test_name(tested_formats()[std::get<0>(which.param)]) + "_" +
                                  std::string(name(std::get<1>(which.param)));
                         });

TEST_P(OnEveryIsa, GreedyTokensOfATinyModelAreThoseOfAPromptAlone) {
  std::mt19937 random(7);
  Tokens prompts(kTinyPrompts);
  for (std::vector<int32_t>& prompt : prompts)
    for (auto n = 17 + random() % 24; n > 0; --n) prompt.push_back(static_cast<int32_t>(random() % 300));
  const std::filesystem::path tiny = source_dir() / "tests/golden/logits/qwen2_untied";
  const ModelSpec spec = make_model_spec(read_hf_config(tiny));
  const Format row = rtn_format(tested_formats()[std::get<0>(GetParam())], spec);
  ThreadPool pool(1);
  const LoadOptions options{.calibration = prompts, .on_progress = {}};  // scales of an fp8 KV cache
  const ModelWeights weights = load_weights(tiny, spec, row, options, pool);
  expect_identity(weights, prompts, 17, std::get<1>(GetParam()));
}

}  // namespace
}  // namespace trimeter
