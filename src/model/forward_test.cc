#include "model/forward.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "model/forward_harness.h"
#include "tensor/logits.h"

namespace trimeter {
namespace {

constexpr EngineLimits kLimits{
    .max_model_len = 320, .max_num_seqs = 7, .max_num_batched_tokens = 320, .block_size = 16};

std::vector<int32_t> random_tokens(int n, int vocab, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> tokens(static_cast<size_t>(n));
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % static_cast<uint32_t>(vocab));
  return tokens;
}

std::vector<int32_t> blocks_from(int first, int step) {
  std::vector<int32_t> blocks(20);
  for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = first + step * static_cast<int>(i);
  return blocks;
}

// Index of the first difference in bits, or -1.
int64_t first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return static_cast<int64_t>(std::min(a.size(), b.size()));
  for (size_t i = 0; i < a.size(); ++i)
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i])) return static_cast<int64_t>(i);
  return -1;
}

ModelWeights load(const std::filesystem::path& directory, const Format& row, ThreadPool& pool) {
  return load_weights(directory, make_model_spec(read_hf_config(directory)), row, rtn_options(), pool);
}

const std::filesystem::path kTiny = source_dir() / "tests/golden/logits/qwen2_untied";

ModelSpec tiny_spec() { return make_model_spec(read_hf_config(kTiny)); }

// Every format's scheme, on every ISA that runs here. The tiny model has two layers, so what the second sees depends on
// the first one's attention.
class Invariance : public testing::TestWithParam<std::tuple<size_t, Isa>> {
 protected:
  Invariance() : row_(rtn_format(all_formats()[std::get<0>(GetParam())], tiny_spec())), isa_(std::get<1>(GetParam())) {}
  const Format row_;
  const Isa isa_;
};

TEST_P(Invariance, ChunksNeighboursBlocksAndThreadsLeaveNoTrace) {
  ThreadPool one(1), two(2), three(3);
  const ModelWeights weights = load(kTiny, row_, two);
  const std::vector<int32_t> tokens = random_tokens(75, 300, 1);
  ForwardHarness reference(weights, kLimits, one, isa_, 80);
  const std::vector<float> whole = reference.score({tokens, blocks_from(0, 1)}, 75);
  ASSERT_EQ(whole.size(), 75u * 300);
  for (const float x : whole) ASSERT_TRUE(std::isfinite(x));

  ForwardHarness other(weights, kLimits, two, isa_, 80);
  for (const int32_t chunk : {1, 5, 7, 16, 64})
    EXPECT_EQ(first_difference(other.score({tokens, blocks_from(79, -3)}, chunk), whole), -1) << "chunks of " << chunk;

  // Among neighbours of other lengths and contexts, uneven chunks, three threads.
  ForwardHarness crowded(weights, kLimits, three, isa_, 80);
  HarnessSeq seq{tokens, blocks_from(1, 4)}, left{random_tokens(60, 300, 2), blocks_from(0, 4)},
      right{random_tokens(70, 300, 3), blocks_from(2, 4)};
  std::vector<float> logits, ignored;
  crowded.step({{&left, 13}, {&seq, 30}}, {&ignored, &logits});
  crowded.step({{&seq, 1}, {&right, 40}, {&left, 1}}, {&logits, &ignored, &ignored});
  crowded.step({{&left, 2}, {&seq, 43}, {&right, 3}}, {&ignored, &logits, &ignored});
  crowded.step({{&right, 1}, {&seq, 1}}, {&ignored, &logits});
  EXPECT_EQ(first_difference(logits, whole), -1) << "in a batch";
}

INSTANTIATE_TEST_SUITE_P(Formats, Invariance,
                         testing::Combine(testing::Range(size_t{0}, all_formats().size()),
                                          testing::ValuesIn(runnable_isas())),
                         [](const auto& which) {
                           std::string row = all_formats()[std::get<0>(which.param)].name;
                           std::replace(row.begin(), row.end(), '-', '_');
                           return fmt::format("{}_{}", row, name(std::get<1>(which.param)));
                         });

TEST(Forward, AStepLongerThanAPieceIsTheSameStep) {
  ThreadPool pool(2);
  const ModelWeights weights = load(kTiny, format("bf16"), pool);
  ForwardHarness harness(weights, kLimits, pool, active_isa(), 20);
  const HarnessSeq seq{random_tokens(320, 300, 4), blocks_from(0, 1)};
  static_assert(kPieceRows < 320);
  EXPECT_EQ(first_difference(harness.score(seq, 320), harness.score(seq, 100)), -1);
}

TEST(Forward, LargestIsTheArgmaxOfTheLogits) {
  for (const int n_threads : {1, 3, 20}) {  // 300 tokens are 19 panels: one thread has none
    ThreadPool pool(n_threads);
    ModelWeights weights = load(kTiny, format("bf16"), pool);
    ForwardHarness harness(weights, kLimits, pool, active_isa(), 20);
    const std::vector<int32_t> tokens = random_tokens(40, 300, 6), blocks = blocks_from(0, 1),
                               rows = {0, 39, 7, 20, 21, 22, 23};
    const auto largest = [&] {
      const StepSeq step{0, 40, 0, blocks.data()};
      harness.forward.run({tokens, {&step, 1}}, harness.kv());
      const std::span<const int32_t> got = harness.forward.largest(rows);
      return std::vector<int32_t>(got.begin(), got.end());
    };
    const std::vector<int32_t> got = largest();
    const std::span<const float> logits = harness.forward.logits(rows);
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(got[i], argmax(logits.subspan(i * 300, 300))) << n_threads;
    std::ranges::fill(weights.final_norm, 0.0f);  // all logits are equal
    EXPECT_EQ(largest(), std::vector<int32_t>(rows.size(), 0)) << n_threads;
    std::ranges::fill(weights.final_norm, NAN);
    EXPECT_EQ(largest(), std::vector<int32_t>(rows.size(), -1)) << n_threads;
  }
}

TEST(Forward, TakesWhatTheLedgerSays) {
  ThreadPool pool(2);
  const std::vector<int32_t> tokens = random_tokens(320, 300, 4), blocks = blocks_from(0, 1);
  for (const Format& row : all_formats()) {
    const Format rtn = rtn_format(row, tiny_spec());
    const ModelWeights weights = load(kTiny, rtn, pool);
    for (const Isa isa : runnable_isas()) {
      ForwardHarness harness(weights, kLimits, pool, isa, 20);
      const StepSeq step{0, 320, 0, blocks.data()};  // the largest step, and the largest call of logits()
      harness.forward.run({tokens, {&step, 1}}, harness.kv());
      harness.forward.logits(std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6});
      EXPECT_EQ(harness.forward.activation_high_water_bytes(), activation_bytes(weights.spec, rtn, kLimits, isa))
          << row.name << " " << name(isa);
      EXPECT_EQ(harness.forward.rope_bytes(), rope_table_bytes(weights.spec, kLimits));
    }
  }
}

TEST(Forward, ObserverSeesEveryLinearsInputAndChangesNothing) {
  ThreadPool pool(2);
  const ModelWeights weights = load(kTiny, format("fp32"), pool);
  ForwardHarness harness(weights, kLimits, pool, active_isa(), 20);
  const HarnessSeq seq{random_tokens(9, 300, 5), blocks_from(0, 1)};
  const std::vector<float> unobserved = harness.score(seq, 9);
  std::vector<std::pair<int, LinearRole>> calls;
  std::vector<float> qkv_input;
  harness.forward.observe([&](int layer, LinearRole role, const float* x, int64_t n, int64_t in) {
    EXPECT_EQ(n, 9);
    EXPECT_EQ(in, weights.spec.linears_of_layer(0)[calls.size() % 4].shape.in);
    calls.emplace_back(layer, role);
    if (calls.size() == 1) qkv_input.assign(x, x + n * in);
    std::vector<int> visited(2);
    pool.run([&](int thread) { visited[static_cast<size_t>(thread)] = 1; });  // the team is free to use
    EXPECT_EQ(visited, std::vector<int>(2, 1));
  });
  EXPECT_EQ(first_difference(harness.score(seq, 9), unobserved), -1);
  std::vector<std::pair<int, LinearRole>> wanted;
  for (int layer = 0; layer < 2; ++layer)
    for (const LinearSpec& linear : weights.spec.linears_of_layer(layer)) wanted.emplace_back(layer, linear.role);
  EXPECT_EQ(calls, wanted);
  // The first one is the normed embedding: g * x / sqrt(mean(x^2) + eps).
  std::vector<float> x(128);
  weights.embed(seq.tokens[4], x.data());
  double squares = 0;
  for (const float value : x) squares += static_cast<double>(value) * value;
  for (size_t i = 0; i < 128; ++i) {
    const double want = weights.layers[0].input_norm[i] * x[i] / std::sqrt(squares / 128 + weights.spec.rms_norm_eps);
    EXPECT_NEAR(qkv_input[4 * 128 + i], want, 20 * 0x1p-24 * std::abs(want)) << i;  // (128/8 + 4) roundings at most
  }
}

TEST(Forward, LayersAloneAreTheMiddleOfTheStep) {
  ThreadPool pool(2);
  ModelWeights weights = load(kTiny, format("bf16"), pool);
  ForwardHarness harness(weights, kLimits, pool, active_isa(), 20);
  const HarnessSeq seq{random_tokens(11, 300, 6), blocks_from(3, 1)};
  const std::vector<float> whole = harness.score(seq, 11);
  // Both layers one at a time, as calibration walks them; then the last row's norm and some of the head by hand.
  std::vector<float> hidden(11 * 128);
  for (size_t t = 0; t < 11; ++t) weights.embed(seq.tokens[t], &hidden[t * 128]);
  std::vector<LayerWeights> layers = std::move(weights.layers);
  for (LayerWeights& layer : layers) {
    ModelWeights single;
    single.spec = weights.spec;
    single.spec.n_layers = 1;
    single.format = weights.format;
    single.layers.push_back(std::move(layer));
    ForwardHarness one_layer(single, kLimits, pool, active_isa(), 20);
    const StepSeq step{0, 11, 0, seq.blocks.data()};
    one_layer.forward.run_layers({seq.tokens, {&step, 1}}, one_layer.kv(), hidden.data());
  }
  std::vector<float> last(128), normed(128);
  double squares = 0;
  for (size_t i = 0; i < 128; ++i) squares += static_cast<double>(hidden[1280 + i]) * hidden[1280 + i];
  std::vector<float> row(128);
  for (const size_t token : {0, 7, 299}) {
    weights.lm_head.scheme->unpack_row(weights.lm_head.packed, static_cast<int64_t>(token), row.data());
    double want = 0, norm1 = 0;
    for (size_t i = 0; i < 128; ++i) {
      const double term =
          row[i] * weights.final_norm[i] * hidden[1280 + i] / std::sqrt(squares / 128 + weights.spec.rms_norm_eps);
      want += term;
      norm1 += std::abs(term);
    }
    // bf16 inputs: each term off by 2^-9 of itself, the sums by less than 2^-16.
    EXPECT_NEAR(whole[10 * 300 + token], want, (0x1p-9 + 0x1p-16) * norm1) << token;
  }
}

}  // namespace
}  // namespace trimeter
