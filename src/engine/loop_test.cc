#include "engine/loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "base/error.h"
#include "engine/mix.h"

namespace trimeter {
namespace {

constexpr int32_t kVocab = 64, kEos = 63, kBlockSize = 16;

// A "model" that can be checked by hand: its cache holds token ids, and a row's logits are a hash of all tokens up to
// it, read back through the block table. A wrong block, a stale one or a missed write changes them.
class FakeRunner : public StepRunner {
 public:
  FakeRunner(const EngineLimits& limits, int64_t n_blocks)
      : limits_(limits), cache_(static_cast<size_t>(n_blocks * kBlockSize), -1) {}

  void run(const StepBatch& batch) override {
    EXPECT_LE(batch.tokens.size(), static_cast<size_t>(limits_.max_num_batched_tokens));
    EXPECT_LE(batch.seqs.size(), static_cast<size_t>(limits_.max_num_seqs));
    most_seqs = std::max(most_seqs, batch.seqs.size());
    ++n_runs;
    hashes_.clear();
    for (const StepSeq& seq : batch.seqs)
      for (int32_t i = 0; i < seq.n_rows; ++i)
        at(seq, seq.n_context + i) = batch.tokens[static_cast<size_t>(seq.row_begin + i)];
    for (const StepSeq& seq : batch.seqs)
      for (int32_t i = 0; i < seq.n_rows; ++i) {
        uint64_t hash = 0;
        for (int32_t position = 0; position <= seq.n_context + i; ++position)
          hash = mix64(hash ^ static_cast<uint64_t>(at(seq, position)));
        hashes_.push_back(hash);
      }
  }
  std::span<const float> logits(std::span<const int32_t> rows) override {
    EXPECT_LE(rows.size(), static_cast<size_t>(limits_.max_num_seqs));
    logits_.clear();
    for (const int32_t row : rows)
      for (const float x : logits_of(hashes_[static_cast<size_t>(row)])) logits_.push_back(x);
    return logits_;
  }
  std::span<const ChosenToken> choose(std::span<const int32_t> rows, std::span<const RowChoice> choices) override {
    chosen_.clear();
    if (!chooses) return chosen_;
    logprobs_.assign(rows.size(), {});
    for (size_t i = 0; i < rows.size(); ++i) {
      const RowChoice& choice = choices[i];
      ChosenToken& chosen = chosen_.emplace_back();
      if (choice.sampling == nullptr || choice.sampling->top_k == kNotChosen) continue;
      ++n_chosen;
      const std::vector<float> logits_of_row = logits_of(hashes_[static_cast<size_t>(rows[i])]);
      chosen.token = sampler_.sample(logits_of_row, *choice.sampling, choice.tokens, choice.uniform);
      if (choice.sampling->logprobs < 0) continue;
      sampler_.logprobs(logits_of_row, chosen.token, choice.sampling->logprobs, logprobs_[i]);
      chosen.logprobs = logprobs_[i];
    }
    return chosen_;
  }
  static std::vector<float> logits_of(uint64_t hash) {
    std::vector<float> logits;
    for (uint64_t token = 0; token < kVocab; ++token)
      logits.push_back(static_cast<float>(mix64(hash + token) >> 40) * 0x1p-22f);  // [0, 4)
    return logits;
  }

  static constexpr int32_t kNotChosen = 41;  // a top_k whose rows choose() leaves
  bool chooses = false;
  size_t most_seqs = 0;
  int64_t n_runs = 0, n_chosen = 0;

 private:
  int32_t& at(const StepSeq& seq, int32_t position) {
    return cache_[static_cast<size_t>(seq.block_table[position / kBlockSize] * kBlockSize + position % kBlockSize)];
  }
  EngineLimits limits_;
  std::vector<int32_t> cache_;
  std::vector<uint64_t> hashes_;
  std::vector<float> logits_;
  Sampler sampler_{kVocab};
  std::vector<ChosenToken> chosen_;
  std::vector<std::vector<TokenLogprob>> logprobs_;
};

// Tokens 0 to 25 are letters; 26 and 27 together are U+00E9; 63 is special; the others are digits.
std::string_view bytes_of(int32_t token) {
  static const std::vector<std::string> kBytes = [] {
    std::vector<std::string> bytes;
    for (char c = 'a'; c <= 'z'; ++c) bytes.emplace_back(1, c);
    bytes.insert(bytes.end(), {"\xc3", "\xa9"});
    while (bytes.size() < kEos) bytes.emplace_back(1, static_cast<char>('0' + bytes.size() % 10));
    return bytes.emplace_back(), bytes;
  }();
  return kBytes[static_cast<size_t>(token)];
}

struct Rig {
  EngineLimits limits;
  FakeRunner runner;
  EngineLoop loop;
  explicit Rig(EngineLimits l = {.max_model_len = 256, .max_num_seqs = 16, .max_num_batched_tokens = 512},
               int64_t n_blocks = 512)
      : limits(l), runner(l, n_blocks), loop(l, n_blocks, {l.max_model_len, kVocab, {kEos}}, bytes_of, runner) {}

  std::vector<RequestOutput> generate(const std::vector<Request>& requests) {
    for (const Request& request : requests) loop.submit(request);
    std::map<std::string, RequestOutput> by_id;
    for (bool busy = true; busy;) {
      Engine::StepResult result = loop.step();
      busy = result.busy;
      for (RequestOutput& output : result.finished) by_id[output.id] = std::move(output);
    }
    std::vector<RequestOutput> outputs;
    for (const Request& request : requests) outputs.push_back(std::move(by_id.at(request.id)));
    EXPECT_EQ(loop.pool().n_free(), loop.pool().n_blocks());
    loop.pool().check_invariants();
    return outputs;
  }
};

std::vector<Request> requests(int n, const SamplingParams& sampling) {
  std::mt19937 random(7);
  std::vector<Request> result;
  for (int i = 0; i < n; ++i) {
    Request request{.id = std::to_string(i), .prompt = {}, .sampling = sampling};
    if (i % 2 == 1) request.prompt.assign(40, 5);  // half of them share a beginning
    for (unsigned j = 0; j < 1 + random() % 50; ++j) request.prompt.push_back(static_cast<int32_t>(random() % kVocab));
    result.push_back(std::move(request));
  }
  return result;
}

std::vector<std::vector<int32_t>> tokens_of(const std::vector<RequestOutput>& outputs) {
  std::vector<std::vector<int32_t>> tokens;
  for (const RequestOutput& output : outputs) tokens.push_back(output.tokens);
  return tokens;
}

SamplingParams greedy(int32_t max_tokens) { return {.temperature = 0, .max_tokens = max_tokens, .ignore_eos = true}; }

// The truth, with no engine at all.
std::vector<int32_t> greedy_by_hand(std::vector<int32_t> tokens, int32_t n) {
  uint64_t hash = 0;
  for (const int32_t token : tokens) hash = mix64(hash ^ static_cast<uint64_t>(token));
  std::vector<int32_t> generated;
  while (n-- > 0) {
    const std::vector<float> logits = FakeRunner::logits_of(hash);
    generated.push_back(static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin()));
    hash = mix64(hash ^ static_cast<uint64_t>(generated.back()));
  }
  return generated;
}

TEST(Loop, ARunnerThatChoosesGivesTheSameTokens) {
  std::vector<Request> mixed = requests(10, greedy(20));
  mixed[1].sampling.temperature = 1;
  mixed[2].sampling = {.temperature = 0.8, .top_p = 0.9, .seed = 5, .max_tokens = 20, .ignore_eos = true};
  mixed[3].sampling.repetition_penalty = 1.5;
  mixed[4].sampling.logprobs = 2;
  for (const size_t left : {5, 8}) {  // in one batch with the others
    mixed[left].sampling = {.temperature = 1, .top_k = FakeRunner::kNotChosen, .max_tokens = 20, .ignore_eos = true};
    mixed[left].sampling.logprobs = 1;
  }
  Rig from_logits, chosen;
  chosen.runner.chooses = true;
  const std::vector<RequestOutput> want = from_logits.generate(mixed), got = chosen.generate(mixed);
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(got[i].tokens, want[i].tokens) << i;
    ASSERT_EQ(got[i].logprobs.size(), want[i].logprobs.size()) << i;
    for (size_t t = 0; t < want[i].logprobs.size(); ++t)
      EXPECT_TRUE(std::ranges::equal(got[i].logprobs[t], want[i].logprobs[t], [](const auto& a, const auto& b) {
        return a.token == b.token && a.logprob == b.logprob;
      })) << i;
  }
  EXPECT_EQ(from_logits.runner.n_chosen, 0);
  EXPECT_EQ(chosen.runner.n_chosen, 8 * 20);
}

TEST(EngineLoop, TheSameTokensHoweverTheyAreScheduled) {
  for (const bool sampled : {false, true}) {
    SamplingParams sampling = greedy(60);
    if (sampled) sampling = {.temperature = 1, .top_p = 0.9, .seed = 11, .max_tokens = 60, .ignore_eos = true};
    const std::vector<Request> prompts = requests(16, sampling);
    std::vector<std::vector<int32_t>> want;
    for (const Request& request : prompts) {
      Rig alone;
      want.push_back(alone.generate({request})[0].tokens);
      if (!sampled) {
        EXPECT_EQ(want.back(), greedy_by_hand(request.prompt, 60));
      }
    }
    Rig batched;
    EXPECT_EQ(tokens_of(batched.generate(prompts)), want);
    EXPECT_EQ(batched.runner.most_seqs, 16u);
    EXPECT_EQ(tokens_of(batched.generate(prompts)), want) << "prefix-cached";
    EXPECT_GT(batched.loop.stats().n_prefix_hits, 0);

    Rig chunked({.max_model_len = 256, .max_num_seqs = 16, .max_num_batched_tokens = 16});
    EXPECT_EQ(tokens_of(chunked.generate(prompts)), want);

    Rig preempted({.max_model_len = 256, .max_num_seqs = 16, .max_num_batched_tokens = 64}, 17);
    EXPECT_EQ(tokens_of(preempted.generate(prompts)), want);
    EXPECT_GT(preempted.loop.stats().n_preemptions, 0);
  }
}

TEST(EngineLoop, SeedsDecideAndNothingElse) {
  SamplingParams sampling{.temperature = 1, .seed = 1, .max_tokens = 20, .ignore_eos = true};
  const Request a{.id = "a", .prompt = {1, 2, 3}, .sampling = sampling};
  Request b = a, c = a, d = a;
  b.id = "b", c.id = "c", d.id = "d";
  b.sampling.seed = 2;
  c.sampling.seed = d.sampling.seed = std::nullopt;
  Rig rig, other;
  const auto tokens = tokens_of(rig.generate({a, b, c, d}));
  EXPECT_NE(tokens[0], tokens[1]);
  EXPECT_NE(tokens[2], tokens[3]) << "requests without a seed draw differently";
  EXPECT_NE(tokens[0], tokens[2]);
  EXPECT_EQ(tokens_of(other.generate({a, b, c, d})), tokens) << "and the same in a second engine";
}

TEST(EngineLoop, CountsWhatItComputes) {
  Rig rig;
  const std::vector<RequestOutput> outputs = rig.generate(requests(3, greedy(10)));
  int64_t n_prompt = 0;
  for (const RequestOutput& output : outputs) {
    n_prompt += output.n_prompt_tokens;
    EXPECT_EQ(output.finish, FinishReason::kLength);
    EXPECT_EQ(output.tokens.size(), 10u);
    EXPECT_EQ(output.token_s.size(), 10u);
    EXPECT_TRUE(std::ranges::is_sorted(output.token_s));
    EXPECT_LE(output.arrival_s, output.token_s[0]);
  }
  const EngineStats stats = rig.loop.stats();
  EXPECT_EQ(stats.n_steps, 10);
  EXPECT_EQ(stats.n_prompt_tokens, n_prompt);
  EXPECT_EQ(stats.n_generated_tokens, 30);
  EXPECT_EQ(stats.n_decode_tokens, 27) << "the first token of each comes with the prompt";
  EXPECT_EQ(stats.n_prefix_queries, n_prompt);
  EXPECT_EQ(stats.n_prefix_hits, 0);
  EXPECT_GT(stats.decode_s, 0);
  EXPECT_GT(stats.prefill_s, 0);
}

TEST(EngineLoop, ResettingThePrefixCacheForgets) {
  const std::vector<Request> prompts = requests(2, greedy(1));
  Rig rig;
  rig.generate(prompts);
  rig.loop.reset_prefix_cache();
  for (const RequestOutput& output : rig.generate(prompts)) EXPECT_EQ(output.n_cached_tokens, 0);
  const RequestOutput cached = rig.generate({prompts[1]})[0];
  EXPECT_EQ(cached.n_cached_tokens, (cached.n_prompt_tokens - 1) / kBlockSize * kBlockSize);
}

TEST(EngineLoop, EndsForEosStopTokensStopStringsAndLength) {
  const std::vector<int32_t> prompt = {3, 1, 4};
  const std::vector<int32_t> tokens = greedy_by_hand(prompt, 200);
  const auto index_of = [&](int32_t token) { return std::ranges::find(tokens, token) - tokens.begin(); };
  ASSERT_LT(index_of(kEos), 200);
  const auto run = [&](SamplingParams sampling) {
    sampling.temperature = 0;
    Rig rig;
    return rig.generate({{.id = "x", .prompt = prompt, .sampling = sampling}})[0];
  };
  const RequestOutput eos = run({.max_tokens = 200});
  EXPECT_EQ(eos.finish, FinishReason::kStop);
  EXPECT_EQ(static_cast<int64_t>(eos.tokens.size()), index_of(kEos) + 1);
  EXPECT_EQ(run({.max_tokens = 200, .ignore_eos = true}).tokens.size(), 200u);

  const int32_t stop_token = tokens[7];
  const RequestOutput stopped = run({.max_tokens = 200, .ignore_eos = true, .stop_token_ids = {stop_token}});
  EXPECT_EQ(stopped.finish, FinishReason::kStop);
  EXPECT_EQ(static_cast<int64_t>(stopped.tokens.size()), index_of(stop_token) + 1);
  std::string text_before;
  for (int64_t i = 0; i < index_of(stop_token); ++i) text_before += bytes_of(tokens[static_cast<size_t>(i)]);
  EXPECT_EQ(stopped.text, text_before) << "the token that ends it is no text";

  // A stop string that begins in the middle of a token's successor: two letters of two tokens.
  const std::string text = run({.max_tokens = 12, .ignore_eos = true}).text;
  const std::string stop = text.substr(text.size() - 2);
  const RequestOutput cut = run({.max_tokens = 200, .ignore_eos = true, .stop = {stop}});
  EXPECT_EQ(cut.finish, FinishReason::kStop);
  EXPECT_EQ(cut.text, text.substr(0, text.find(stop)));
  EXPECT_LE(cut.tokens.size(), 12u);

  const RequestOutput full = run({.max_tokens = 1000, .ignore_eos = true});
  EXPECT_EQ(full.finish, FinishReason::kLength);
  EXPECT_EQ(full.tokens.size(), 256u - 3) << "max_model_len ends it";
}

TEST(EngineLoop, StreamsExactlyItsText) {
  std::vector<Request> prompts = requests(8, greedy(100));
  std::map<std::string, std::string> streamed;
  for (Request& request : prompts) {
    request.sampling.stop = {"ab", "c1d"};
    request.on_text = [&streamed, id = request.id](std::string_view text) { streamed[id] += text; };
  }
  Rig rig;
  for (const RequestOutput& output : rig.generate(prompts)) EXPECT_EQ(streamed[output.id], output.text);
}

TEST(EngineLoop, LogprobsForEachToken) {
  SamplingParams sampling{.temperature = 1, .seed = 5, .max_tokens = 5, .ignore_eos = true, .logprobs = 3};
  Rig rig;
  const RequestOutput output = rig.generate({{.id = "x", .prompt = {1}, .sampling = sampling}})[0];
  ASSERT_EQ(output.logprobs.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    const std::vector<TokenLogprob>& row = output.logprobs[i];
    ASSERT_EQ(row.size(), 4u);
    EXPECT_EQ(row[0].token, output.tokens[i]);
    EXPECT_GE(row[1].logprob, row[0].logprob);
    EXPECT_TRUE(row[1].logprob >= row[2].logprob && row[2].logprob >= row[3].logprob);
  }
}

// Scores and compares with what the fake computes by hand; returns the order of deliveries' sequences.
void score_and_check(Rig& rig, const std::vector<std::vector<int32_t>>& sequences, int max_batch) {
  std::vector<uint64_t> hashes(sequences.size());
  std::vector<int> next(sequences.size());
  rig.loop.score(sequences, max_batch, [&](int sequence, int position, std::span<const float> logits) {
    const auto s = static_cast<size_t>(sequence);
    ASSERT_EQ(position, next[s]++) << "each position once, in order";
    hashes[s] = mix64(hashes[s] ^ static_cast<uint64_t>(sequences[s][static_cast<size_t>(position)]));
    ASSERT_TRUE(std::ranges::equal(logits, FakeRunner::logits_of(hashes[s])));
  });
  for (size_t s = 0; s < sequences.size(); ++s) EXPECT_EQ(next[s], static_cast<int>(sequences[s].size()));
}

std::vector<std::vector<int32_t>> prompts_of(const std::vector<Request>& requests) {
  std::vector<std::vector<int32_t>> result;
  for (const Request& request : requests) result.push_back(request.prompt);
  return result;
}

TEST(EngineLoop, ScoresEveryPositionOnceInOrder) {
  const auto sequences = prompts_of(requests(12, {}));
  Rig wide, narrow({.max_model_len = 256, .max_num_seqs = 3, .max_num_batched_tokens = 32}, 24);
  score_and_check(wide, sequences, 0);
  EXPECT_EQ(wide.runner.most_seqs, 12u);
  score_and_check(narrow, sequences, 0);
  EXPECT_EQ(narrow.runner.most_seqs, 3u);
  Rig two;
  score_and_check(two, sequences, 2);
  EXPECT_EQ(two.runner.most_seqs, 2u);
  EXPECT_EQ(two.loop.stats().n_prefix_queries, 0);
}

TEST(EngineLoop, ScoresBesideGenerationAndThroughPreemption) {
  const std::vector<Request> prompts = requests(4, greedy(100));
  const auto sequences = prompts_of(requests(40, {}));
  Rig rig({.max_model_len = 256, .max_num_seqs = 8, .max_num_batched_tokens = 24}, 17);
  for (const Request& request : prompts) rig.loop.submit(request);
  rig.loop.step();
  const int64_t n_before = rig.loop.stats().n_prompt_tokens;
  score_and_check(rig, sequences, 0);
  EXPECT_GT(rig.loop.stats().n_preemptions, 0);
  int64_t n_tokens = 0;
  for (const auto& sequence : sequences) n_tokens += static_cast<int64_t>(sequence.size());
  EXPECT_GT(rig.loop.stats().n_prompt_tokens - n_before, n_tokens) << "some were computed again, none delivered again";
  std::map<std::string, std::vector<int32_t>> tokens;
  for (bool busy = true; busy;) {
    Engine::StepResult result = rig.loop.step();
    busy = result.busy;
    for (RequestOutput& output : result.finished) tokens[output.id] = output.tokens;
  }
  for (const Request& request : prompts) EXPECT_EQ(tokens[request.id], greedy_by_hand(request.prompt, 100));
}

TEST(EngineLoop, RefusesWhatCanNeverRun) {
  Rig rig({.max_model_len = 32, .max_num_seqs = 4, .max_num_batched_tokens = 32}, 8);
  const auto message = [&](std::vector<int32_t> prompt, const SamplingParams& sampling) -> std::string {
    try {
      rig.loop.submit({.id = "r", .prompt = std::move(prompt), .sampling = sampling});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadArgument);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(message({}, {}), "request 'r': the prompt is empty");
  EXPECT_EQ(message(std::vector<int32_t>(32, 1), {}),
            "request 'r': the prompt has 32 tokens; with one token to generate at most 31 fit max_model_len = 32");
  EXPECT_EQ(message({1, kVocab}, {}), "request 'r': prompt token 64, wanted 0 to 63");
  EXPECT_EQ(message({-1}, {}), "request 'r': prompt token -1, wanted 0 to 63");
  EXPECT_EQ(message({1}, {.max_tokens = 0}), "max_tokens = 0: wanted at least 1");
  EXPECT_TRUE(rig.loop.idle()) << "nothing of it stays";
  const auto score = [&](std::vector<int32_t> tokens) {
    rig.loop.score(std::vector<std::vector<int32_t>>{std::move(tokens)}, 0, [](int, int, std::span<const float>) {});
  };
  EXPECT_THROW(score({}), Error);
  EXPECT_THROW(score(std::vector<int32_t>(33, 1)), Error);
  EXPECT_THROW(score({kVocab}), Error);
  score(std::vector<int32_t>(32, 1));
  EXPECT_EQ(rig.generate({{.id = "r", .prompt = std::vector<int32_t>(31, 1), .sampling = {}}})[0].tokens.size(), 1u);
}

}  // namespace
}  // namespace trimeter
