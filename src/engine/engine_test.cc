// The whole engine on models/demo, in every format.
#include "engine/engine.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>

#include "base/cpu.h"
#include "base/error.h"
#include "base/log.h"
#include "io/hf_config.h"
#include "model/weights.h"
#include "tensor/logits.h"

namespace trimeter {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int32_t kMaxTokens = 6, kBatchedTokens = 64;  // the profiling run takes seconds
#else
constexpr int32_t kMaxTokens = 24, kBatchedTokens = 512;
#endif

[[maybe_unused]] const bool kQuiet = (init_logging("warning"), true);

std::filesystem::path demo() {
  const char* source = std::getenv("TRIMETER_SOURCE_DIR");
  return std::filesystem::path(source ? source : ".") / "models/demo";
}

const ModelSpec& demo_spec() {
  static const ModelSpec spec = make_model_spec(read_hf_config(demo()));
  return spec;
}

// Just enough memory for n_blocks, as the ledger has it.
EngineOptions with_blocks(EngineOptions options, int64_t n_blocks) {
  const Format& row = engine_format(options, demo_spec());
  const EngineLimits limits = engine_limits(options, demo_spec());
  const MemoryBreakdown memory = memory_ledger(demo_spec(), row, limits, active_isa(), 0, 1);
  options.utilization = 1;
  options.device_memory_bytes = memory.weights_bytes + memory.activation_bytes + memory.overhead_bytes +
                                n_blocks * kv_layout(demo_spec(), row, limits.block_size).block_bytes();
  return options;
}

EngineOptions options_for(std::string_view format, int n_threads) {
  EngineOptions options;
  options.model = demo();
  options.format = format;
  options.max_model_len = 128;
  options.max_num_seqs = 16;
  options.max_num_batched_tokens = kBatchedTokens;
  options.threads = std::make_shared<ThreadPool>(n_threads);
  options.calibration = {"The old house stood at the end of the lane, and nobody had lived in it for twenty years.",
                         "Tom has 3 boxes with 12 pencils each. He gives 7 pencils to his sister. How many are left?"};
  return with_blocks(std::move(options), 256);
}

// Sixteen prompts; every second one shares the beginning of more than one block.
std::vector<std::vector<int32_t>> prompts(const Engine& engine) {
  static const char* const kOwn[] = {"The captain",
                                     "When the rain stopped, the children ran",
                                     "She said nothing",
                                     "A farmer has 12 cows",
                                     "On the third morning",
                                     "\"Who is there?\" cried the old man",
                                     "There are 5 birds on a tree",
                                     "Her father"};
  const std::string shared =
      "It was late in the autumn when the stranger came to our village, and nobody could tell from which road he had "
      "come. He took the room above the bakery and paid for a month. ";
  std::vector<std::vector<int32_t>> result;
  for (const char* own : kOwn) {
    result.push_back(engine.encode(own, false));
    result.push_back(engine.encode(shared + own, false));
  }
  return result;
}

std::vector<Request> requests(const Engine& engine, const SamplingParams& sampling) {
  std::vector<Request> result;
  for (std::vector<int32_t>& prompt : prompts(engine))
    result.push_back({.id = std::to_string(result.size()), .prompt = std::move(prompt), .sampling = sampling});
  return result;
}

SamplingParams greedy(int32_t max_tokens = kMaxTokens) {
  return {.temperature = 0, .max_tokens = max_tokens, .ignore_eos = true};
}

using Tokens = std::vector<std::vector<int32_t>>;

Tokens generate(Engine& engine, std::vector<Request> wanted) {
  Tokens tokens;
  for (RequestOutput& output : engine.generate(std::move(wanted))) tokens.push_back(std::move(output.tokens));
  return tokens;
}

Tokens generate_alone(Engine& engine, const SamplingParams& sampling) {
  Tokens tokens;
  for (Request& request : requests(engine, sampling)) {
    engine.reset_prefix_cache();
    tokens.push_back(generate(engine, {std::move(request)})[0]);
  }
  return tokens;
}

class EachFormat : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Formats, EachFormat, testing::ValuesIn([] {
                           std::vector<std::string> names;
                           for (const Format& row : all_formats()) names.emplace_back(row.name);
                           return names;
                         }()),
                         [](const auto& param) {
                           return std::regex_replace(param.param, std::regex("[^a-zA-Z0-9]"), "_");
                         });

void expect_what_the_ledger_says(const EngineInfo& info, const EngineOptions& options) {
  const Format& row = engine_format(options, demo_spec());
  const MemoryBreakdown want = memory_ledger(demo_spec(), row, engine_limits(options, demo_spec()), active_isa(),
                                             options.device_memory_bytes, options.utilization);
  EXPECT_EQ(info.memory.weights_bytes, want.weights_bytes);
  EXPECT_EQ(info.memory.linear_bytes, want.linear_bytes);
  EXPECT_EQ(info.memory.scales_bytes, want.scales_bytes);
  EXPECT_EQ(info.memory.embedding_bytes, want.embedding_bytes);
  EXPECT_EQ(info.memory.norm_bytes, want.norm_bytes);
  EXPECT_EQ(info.memory.activation_bytes, want.activation_bytes);
  EXPECT_EQ(info.memory.overhead_bytes, want.overhead_bytes);
  EXPECT_EQ(info.memory.kv_bytes, want.kv_bytes);
  EXPECT_EQ(info.kv_blocks * info.block_bytes, want.kv_bytes);
}

void expect_the_same_preempted_and_chunked(const std::string& format, const Tokens& want) {
  EngineOptions options = with_blocks(options_for(format, 1), 12);
  const auto preempted = make_engine(options);
  expect_what_the_ledger_says(preempted->info(), options);
  EXPECT_EQ(generate(*preempted, requests(*preempted, greedy())), want) << "preempted";
  EXPECT_GT(preempted->stats().n_preemptions, 0);

  // Few tokens: where other programs want the CPUs too, each barrier of two threads waits for both to be run.
  Tokens first = want;
  for (std::vector<int32_t>& tokens : first) tokens.resize(4);
  options = options_for(format, 2);
  options.max_num_batched_tokens = 32;
  options = with_blocks(options, 256);
  const auto chunked = make_engine(options);
  expect_what_the_ledger_says(chunked->info(), options);
  EXPECT_EQ(generate(*chunked, requests(*chunked, greedy(4))), first) << "in chunks of 32, on two threads";
  EXPECT_EQ(chunked->stats().n_preemptions, 0);
}

TEST_P(EachFormat, TheSameTokensHoweverTheyAreScheduled) {
  const EngineOptions options = options_for(GetParam(), 1);
  const auto engine = make_engine(options);
  EXPECT_EQ(engine->info().format, GetParam());
  if (GetParam().starts_with("gguf-"))  // its layers may differ
    EXPECT_GE(engine->info().kernel_lines.size(), 5u);
  else
    EXPECT_EQ(engine->info().kernel_lines.size(), 5u);
  EXPECT_EQ(engine->info().kv_blocks, 256);
  expect_what_the_ledger_says(engine->info(), options);
  const Tokens want = generate_alone(*engine, greedy());
  EXPECT_EQ(engine->stats().n_prefix_hits, 0);
  engine->reset_prefix_cache();
  EXPECT_EQ(generate(*engine, requests(*engine, greedy())), want) << "batched";
  const int64_t n_hits = engine->stats().n_prefix_hits;
  EXPECT_EQ(generate(*engine, requests(*engine, greedy())), want) << "prefix-cached";
  EXPECT_GT(engine->stats().n_prefix_hits, n_hits);
  EXPECT_EQ(engine->stats().n_preemptions, 0);
  // Each further engine would search again; lab/greedy_identity_test.cc has one search for all conditions.
  if (!needs_calibration(format(GetParam()))) expect_the_same_preempted_and_chunked(GetParam(), want);
}

Engine& shared_engine() {
  static const std::unique_ptr<Engine> engine = make_engine(options_for("bf16", 1));
  return *engine;
}

TEST(Engine, SeededSamplingDoesNotDependOnTheBatch) {
  Engine& engine = shared_engine();
  SamplingParams sampling{.temperature = 1.2,
                          .top_k = 50,
                          .top_p = 0.95,
                          .min_p = 0.01,
                          .repetition_penalty = 1.1,
                          .seed = 42,
                          .max_tokens = kMaxTokens,
                          .ignore_eos = true};
  const Tokens alone = generate_alone(engine, sampling);
  EXPECT_EQ(generate(engine, requests(engine, sampling)), alone);
  sampling.seed = 43;
  EXPECT_NE(generate(engine, requests(engine, sampling)), alone);
}

// Counted by filling it: four sequences that fill all blocks to the last but one token stay; when one asks for a block
// more, another one must go.
TEST(Engine, ThePoolHoldsTheBlocksThatItSays) {
  EngineOptions options = options_for("bf16", 1);
  options.max_num_seqs = 4;
  options.max_num_batched_tokens = 64;
  options.kv_memory = std::make_shared<KvMemory>();
  options = with_blocks(options, 24);
  const auto engine = make_engine(options);
  const int64_t n_blocks = engine->info().kv_blocks;
  EXPECT_EQ(options.kv_memory->bytes(), n_blocks * kv_layout(demo_spec(), format("bf16"), 16).block_bytes());
  EXPECT_EQ(options.kv_memory->bytes(), engine->info().memory.kv_bytes);
  const auto n_prompt = static_cast<size_t>(n_blocks / 4 * 16 - 3);
  const auto fill = [&](int32_t n_generated) {
    engine->reset_prefix_cache();
    std::vector<Request> four;
    for (int32_t i = 0; i < 4; ++i)
      four.push_back(
          {.id = std::to_string(i), .prompt = std::vector<int32_t>(n_prompt, 10 + i), .sampling = greedy(n_generated)});
    generate(*engine, std::move(four));
    return engine->stats().n_preemptions;
  };
  EXPECT_EQ(fill(4), 0);
  EXPECT_GT(fill(5), 0);
}

// Scored logits, by sequence and position, one after another.
std::vector<std::vector<float>> score(Engine& engine, const Tokens& sequences, int max_batch) {
  std::vector<std::vector<float>> logits(sequences.size());
  engine.score(sequences, max_batch, [&](int sequence, int position, std::span<const float> row) {
    std::vector<float>& all = logits[static_cast<size_t>(sequence)];
    ASSERT_EQ(all.size(), static_cast<size_t>(position) * row.size());
    all.insert(all.end(), row.begin(), row.end());
  });
  return logits;
}

TEST(Engine, ScoringIsTheSameToTheBitAtEveryBatchSize) {
  Engine& engine = shared_engine();
  const Tokens sequences = prompts(engine);
  const auto together = score(engine, sequences, 0);
  EXPECT_EQ(score(engine, sequences, 1), together);
  const auto vocab = static_cast<size_t>(engine.info().vocab_size);
  for (size_t i = 0; i < sequences.size(); ++i) EXPECT_EQ(together[i].size(), sequences[i].size() * vocab);
}

TEST(Engine, GeneratedLogprobsAreThoseOfScoring) {
  Engine& engine = shared_engine();
  SamplingParams sampling = greedy(8);
  sampling.logprobs = 2;
  const Request request = requests(engine, sampling)[1];
  std::vector<int32_t> sequence = request.prompt;
  const size_t n_prompt = sequence.size();
  const RequestOutput output = engine.generate({request})[0];
  sequence.insert(sequence.end(), output.tokens.begin(), output.tokens.end());
  const std::vector<float> logits = score(engine, {sequence}, 0)[0];
  const auto vocab = static_cast<size_t>(engine.info().vocab_size);
  for (size_t i = 0; i < output.tokens.size(); ++i) {
    const std::span row = std::span(logits).subspan((n_prompt - 1 + i) * vocab, vocab);
    const auto token = static_cast<size_t>(output.tokens[i]);
    EXPECT_EQ(output.logprobs[i][0].logprob, static_cast<float>(row[token] - log_sum_exp(row)));
    EXPECT_EQ(output.logprobs[i][1].token, output.tokens[i]) << "greedy: the most likely one";
    EXPECT_EQ(argmax(row), output.tokens[i]);
  }
}

TEST(Engine, StreamsWholeCharactersThatAddUpToTheText) {
  Engine& engine = shared_engine();
  // So hot that nearly every token, byte fragments too, is as likely as any other.
  SamplingParams sampling{.temperature = 50, .seed = 3, .max_tokens = 4 * kMaxTokens, .ignore_eos = true};
  std::map<std::string, std::string> streamed;
  int n_held = 0;
  std::vector<Request> wanted = requests(engine, sampling);
  for (Request& request : wanted)
    request.on_text = [&, id = request.id](std::string_view text) {
      EXPECT_NO_THROW(engine.encode(text, false)) << "not UTF-8";  // encode() refuses what isn't
      streamed[id] += text;
    };
  for (const RequestOutput& output : engine.generate(std::move(wanted))) {
    EXPECT_EQ(streamed[output.id], output.text);
    EXPECT_EQ(output.text, engine.decode(output.tokens, true));
    n_held += output.text.find("\xef\xbf\xbd") != std::string::npos;
  }
  EXPECT_GT(n_held, 0) << "no fragment came up: the test shows nothing";
}

TEST(Engine, StopsAtAStringThatSpansTokens) {
  Engine& engine = shared_engine();
  Request stopping = requests(engine, greedy(12))[1];
  const RequestOutput full = engine.generate({stopping})[0];
  ASSERT_EQ(full.text, engine.decode(full.tokens, true));
  const std::string first = engine.decode(std::span(full.tokens).first(4), true);
  const std::string stop = full.text.substr(first.size() - 1, 3);  // the end of token 4 with the beginning of token 5
  stopping.sampling.stop = {stop};
  std::string streamed;
  stopping.on_text = [&](std::string_view text) { streamed += text; };
  const RequestOutput cut = engine.generate({stopping})[0];
  EXPECT_EQ(cut.finish, FinishReason::kStop);
  EXPECT_EQ(cut.text, full.text.substr(0, full.text.find(stop)));
  EXPECT_EQ(streamed, cut.text);
  EXPECT_LT(cut.tokens.size(), full.tokens.size());
}

TEST(Engine, EndsAtTheModelsEndOfTurn) {
  Engine& engine = shared_engine();
  const std::vector<int32_t> prompt = engine.encode(
      "<|im_start|>user\nTom has 2 apples and buys 3 more. How many apples does he have?<|im_end|>\n"
      "<|im_start|>assistant\nTom has 2 + 3 = 5 apples.\n#### 5",
      false);
  const RequestOutput output =
      engine.generate({{.id = "chat", .prompt = prompt, .sampling = {.temperature = 0, .max_tokens = 9}}})[0];
  EXPECT_EQ(output.finish, FinishReason::kStop);
  EXPECT_EQ(output.tokens, (std::vector<int32_t>{4095}));  // <|im_end|>, by config.json; probability 0.998
  EXPECT_EQ(output.text, "");
}

TEST(Engine, EndsAtTheTokensOfGenerationConfigToo) {
  Engine& engine = shared_engine();
  const Request request = requests(engine, {.temperature = 0, .max_tokens = 6})[1];
  const RequestOutput full = engine.generate({request})[0];
  const std::filesystem::path copy =
      std::filesystem::path(testing::TempDir()) / fmt::format("trimeter_engine_test.{}", getpid());
  std::filesystem::remove_all(copy);
  std::filesystem::create_directories(copy);
  for (const char* file : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
    std::filesystem::create_symlink(std::filesystem::absolute(demo() / file), copy / file);
  std::ofstream(copy / "generation_config.json") << fmt::format(R"({{"eos_token_id": [4090, {}]}})", full.tokens[3]);
  EngineOptions options = options_for("bf16", 1);
  options.model = copy;
  const RequestOutput ended = make_engine(options)->generate({request})[0];
  EXPECT_EQ(ended.finish, FinishReason::kStop);
  EXPECT_EQ(ended.tokens.back(), full.tokens[3]);
  EXPECT_LE(ended.tokens.size(), 4u);
  std::filesystem::remove_all(copy);
}

TEST(Engine, EnginesThatTakeTurnsShareOneKvMemory) {
  EngineOptions options = options_for("bf16", 1);
  options.kv_memory = std::make_shared<KvMemory>();
  const auto a = make_engine(options);
  EngineOptions other = with_blocks(options, 300);
  const auto b = make_engine(other);
  EXPECT_EQ(options.kv_memory->bytes(), 300 * b->info().block_bytes);
  EXPECT_EQ(b->info().memory.kv_bytes, options.kv_memory->bytes());
  EXPECT_EQ(a->info().kv_blocks, 256) << "its own limit, whatever lies behind";
  EXPECT_EQ(a->info().memory.kv_bytes, 256 * a->info().block_bytes);
  const Tokens want = generate(shared_engine(), requests(shared_engine(), greedy()));
  int64_t n_hits[2];  // within a round only: what a left was overwritten by b
  for (int64_t& n : n_hits) {
    n = -a->stats().n_prefix_hits;
    EXPECT_EQ(generate(*a, requests(*a, greedy())), want);
    EXPECT_EQ(generate(*b, requests(*b, greedy())), want);
    n += a->stats().n_prefix_hits;
  }
  EXPECT_EQ(n_hits[0], n_hits[1]);
  generate(*a, requests(*a, greedy()));
  const int64_t n_before = a->stats().n_prefix_hits;
  generate(*a, requests(*a, greedy()));
  EXPECT_GT(a->stats().n_prefix_hits - n_before, n_hits[0]) << "twice in a row, what a left is still there";
}

std::string refusal(const EngineOptions& options, Errc code) {
  try {
    make_engine(options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error.what();
  }
  return "no error";
}

TEST(Engine, RefusesWhatMakesNoSense) {
  const EngineOptions good = options_for("bf16", 1);
  EngineOptions bad = good;
  bad.model = "no/such/model";
  EXPECT_NE(refusal(bad, Errc::kNotFound).find("no/such/model"), std::string::npos);
  bad = good, bad.format = "int3";
  EXPECT_NE(refusal(bad, Errc::kBadArgument).find("int3"), std::string::npos);
  bad = good, bad.block_size = 24;
  EXPECT_EQ(refusal(bad, Errc::kBadArgument), "block_size = 24: wanted a multiple of 16");
  bad = good, bad.max_model_len = 1025;
  EXPECT_EQ(refusal(bad, Errc::kBadArgument),
            "max_model_len = 1025: wanted 1 to the model's max_position_embeddings = 1024");
  bad = good, bad.max_num_batched_tokens = 15;
  EXPECT_EQ(refusal(bad, Errc::kBadArgument),
            "max_num_batched_tokens = 15: wanted at least max_num_seqs = 16: each sequence needs a token a step");
  bad = good, bad.max_num_seqs = 0;
  EXPECT_EQ(refusal(bad, Errc::kBadArgument), "max_num_seqs = 0: wanted at least 1");
  bad = good, bad.utilization = 1.5;
  EXPECT_EQ(refusal(bad, Errc::kBadArgument), "utilization = 1.5: wanted a number in (0, 1]");
  bad = good, bad.device_memory_bytes = int64_t{1} << 60;
  EXPECT_NE(refusal(bad, Errc::kBadArgument).find("device memory of 1152921504606846976 bytes"), std::string::npos);
  bad = with_blocks(good, 7);
  const std::string small = refusal(bad, Errc::kNoMemory);
  EXPECT_NE(small.find("models/demo in bf16: weights 1"), std::string::npos) << small;
  EXPECT_NE(small.find("or a max_model_len of at most 112"), std::string::npos) << small;
}

TEST(Engine, TheFormatIsTheCheckpointsUnlessNamed) {
  EngineOptions options = options_for("bf16", 1);
  options.format.clear();
  EXPECT_EQ(engine_format(options, demo_spec()).name, "bf16");
  ModelSpec half = demo_spec();
  half.dtype = DType::kF16;
  EXPECT_EQ(engine_format(options, half).name, "fp16");
}

TEST(Engine, LogsWhatReadersOfVllmsLogLookFor) {
  std::ostringstream text;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text)));
  spdlog::set_pattern("%v");
  const auto engine = make_engine(options_for("bf16", 1));
  spdlog::set_default_logger(before);
  for (const char* pattern :
       {R"(Initializing the engine with config: model=')", R"(Model loading took [\d.]+ GiB memory and [\d.]+ seconds)",
        R"(Using bf16\.\w+ for qkv_proj, o_proj, gate_up_proj, down_proj, lm_head: bf16 requested)",
        R"(Available KV cache memory: [\d.]+ GiB)", R"(CPU KV cache size: 4,096 tokens)", R"(# CPU blocks: 256)",
        R"(Maximum concurrency for 128 tokens per request: 32\.00x)", R"(init engine \(.*\) took [\d.]+ seconds)"})
    EXPECT_TRUE(std::regex_search(text.str(), std::regex(pattern))) << pattern << "\n" << text.str();
}

}  // namespace
}  // namespace trimeter
