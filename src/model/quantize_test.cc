#include "model/quantize.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "io/file.h"
#include "model/forward.h"

namespace trimeter {
namespace {

constexpr int64_t kHidden = 256, kInner = 256, kHeads = 4, kVocab = 50;

HfConfig make_config(int64_t kv_heads, int64_t n_layers) {
  HfConfig config;
  config.path = "config.json";
  config.architecture = "Qwen2ForCausalLM";
  config.dtype = DType::kF32;
  config.vocab_size = kVocab;
  config.hidden_size = kHidden;
  config.intermediate_size = kInner;
  config.n_layers = n_layers;
  config.n_heads = kHeads;
  config.n_kv_heads = kv_heads;
  config.max_position_embeddings = 64;
  config.tie_word_embeddings = true;
  return config;
}

// A checkpoint of random weights in a directory of its own, removed at the end. As in trained models a few channels are
// far larger than the rest: of the hidden state through the norms, of v and up through their rows.
class RandomCheckpoint {
 public:
  explicit RandomCheckpoint(const ModelSpec& spec)
      : directory_(testing::TempDir() + "awq_checkpoint_" + std::to_string(getpid())) {
    std::filesystem::create_directories(directory_);
    add("model.embed_tokens.weight", {kVocab, kHidden}, 1.0f, 0);
    for (int layer = 0; layer < spec.n_layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      add(prefix + "input_layernorm.weight", {kHidden}, 1.0f, 10);
      add(prefix + "post_attention_layernorm.weight", {kHidden}, 1.0f, 10);
      for (const LinearSpec& linear : spec.linears_of_layer(layer))
        for (const LinearPart& part : linear.parts) {
          const bool outliers =
              part.tensor.find("v_proj") != std::string::npos || part.tensor.find("up_proj") != std::string::npos;
          add(part.tensor, {part.n_rows, linear.shape.in}, 0.05f, outliers ? 10 : 0);
          if (linear.has_bias)
            add(part.tensor.substr(0, part.tensor.size() - 6) + "bias", {part.n_rows}, 0.5f, outliers ? 10 : 0);
        }
    }
    const std::string header = header_.dump();
    const auto length = static_cast<uint64_t>(header.size());
    std::string file(sizeof length, '\0');
    std::memcpy(file.data(), &length, sizeof length);
    write_file_atomic(directory_ / "model.safetensors", file + header + data_);
  }
  ~RandomCheckpoint() { std::filesystem::remove_all(directory_); }
  Checkpoint open() const { return Checkpoint::open(directory_); }

 private:
  // Normal with deviation `size`; rows 3, 64, 125, ... are `factor` times larger if it is not 0.
  void add(const std::string& name, const std::vector<int64_t>& shape, float size, float factor) {
    std::normal_distribution<float> normal(0.0f, size);
    const int64_t in = shape.size() == 2 ? shape[1] : 1, begin = std::ssize(data_);
    for (int64_t row = 0; row < shape[0]; ++row)
      for (int64_t i = 0; i < in; ++i) {
        const float value = normal(random_) * (factor != 0 && row % 61 == 3 ? factor : 1.0f);
        data_.append(reinterpret_cast<const char*>(&value), sizeof value);
      }
    header_[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, std::ssize(data_)}}};
  }

  std::filesystem::path directory_;
  std::mt19937 random_{7};
  nlohmann::json header_;
  std::string data_;
};

std::vector<std::vector<int32_t>> random_sequences(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::vector<int32_t>> sequences(6);
  for (auto& sequence : sequences)
    for (int i = 0; i < 40; ++i) sequence.push_back(static_cast<int32_t>(random() % kVocab));
  return sequences;
}

// What the layers make of one sequence's embeddings: [n, hidden].
std::vector<float> hidden_states(std::vector<LayerWeights> layers, const ModelSpec& spec, const Format& format,
                                 const Checkpoint& checkpoint, const std::vector<int32_t>& tokens, ThreadPool& pool) {
  ModelWeights weights;
  weights.spec = spec;
  weights.format = format;
  weights.layers = std::move(layers);
  const auto n = static_cast<int32_t>(tokens.size());
  Forward forward(weights, {.max_model_len = n, .max_num_seqs = 1, .max_num_batched_tokens = n, .block_size = 16}, pool,
                  active_isa());
  const KvLayout layout = kv_layout(spec, format, 16);
  const std::vector<int32_t> blocks = {0, 1, 2};
  Buffer pages(layout.block_bytes() * std::ssize(blocks));
  std::vector<float> hidden(tokens.size() * kHidden);
  const std::byte* table = checkpoint.at("model.embed_tokens.weight").bytes.data();
  for (size_t t = 0; t < tokens.size(); ++t)
    std::memcpy(&hidden[t * kHidden], table + tokens[t] * kHidden * 4, kHidden * 4);
  const StepSeq seq{.n_rows = n, .block_table = blocks.data()};
  forward.run_layers({.tokens = tokens, .seqs = {&seq, 1}}, {layout, pages.data()}, hidden.data());
  return hidden;
}

double mean_square_difference(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return sum / static_cast<double>(a.size());
}

class QuantizeAwq : public testing::TestWithParam<int64_t> {};

// On tokens that calibration did not see. A fold that is missing or done twice (a norm, a bias, v's or up's rows)
// changes the function by far more than four bits do, and a search for nothing would leave nearest rounding's error.
TEST_P(QuantizeAwq, KeepsTheFunctionBetterThanRoundToNearest) {
  const ModelSpec spec = make_model_spec(make_config(GetParam(), 2));
  const RandomCheckpoint files(spec);
  const Checkpoint checkpoint = files.open();
  const Format int4 = format("awq");
  ThreadPool pool(2);
  std::vector<LayerWeights> dense, nearest;
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    dense.push_back(load_layer(checkpoint, spec, layer, format("fp32"), pool));
    nearest.push_back(load_layer(checkpoint, spec, layer, int4, pool));
  }
  std::vector<int> progress;
  LoadOptions options;
  options.calibration = random_sequences(1);
  options.on_progress = [&](const std::string&, int done, int) { progress.push_back(done); };
  std::vector<LayerWeights> awq = quantize_awq(checkpoint, spec, int4, options, pool);
  EXPECT_EQ(progress, (std::vector<int>{1, 2}));

  const std::vector<int32_t> tokens = random_sequences(2)[0];
  const auto want = hidden_states(std::move(dense), spec, format("fp32"), checkpoint, tokens, pool);
  const auto rtn = hidden_states(std::move(nearest), spec, format("awq"), checkpoint, tokens, pool);
  const auto got = hidden_states(std::move(awq), spec, format("awq"), checkpoint, tokens, pool);
  const double error = mean_square_difference(got, want), error_rtn = mean_square_difference(rtn, want);
  EXPECT_LT(error, error_rtn * 0.75);  // 0.39 and 0.52 here; 7 or more with a fold missing
  EXPECT_GT(error, 0);
}

TEST_P(QuantizeAwq, SameBitsForAnyNumberOfThreads) {
  const ModelSpec spec = make_model_spec(make_config(GetParam(), 1));
  const RandomCheckpoint files(spec);
  const Checkpoint checkpoint = files.open();
  LoadOptions options;
  options.calibration = random_sequences(1);
  ThreadPool one(1), two(2);
  const Format int4 = format("awq");
  const auto a = quantize_awq(checkpoint, spec, int4, options, one);
  const auto b = quantize_awq(checkpoint, spec, int4, options, two);
  const auto same = [](const LinearWeight& x, const LinearWeight& y) {
    const auto equal = [](const Buffer& u, const Buffer& v) {
      return u.size() == v.size() && std::memcmp(u.data(), v.data(), u.size()) == 0;
    };
    return equal(x.packed.values, y.packed.values) && equal(x.packed.scales, y.packed.scales) && x.bias == y.bias;
  };
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].input_norm, b[i].input_norm);
    EXPECT_EQ(a[i].post_attention_norm, b[i].post_attention_norm);
    EXPECT_TRUE(same(a[i].qkv, b[i].qkv) && same(a[i].attention_out, b[i].attention_out) &&
                same(a[i].gate_up, b[i].gate_up) && same(a[i].down, b[i].down));
  }
}

INSTANTIATE_TEST_SUITE_P(KvHeads, QuantizeAwq, testing::Values(kHeads / 2, kHeads));

TEST(QuantizeAwqErrors, CalibrationIsChecked) {
  const ModelSpec spec = make_model_spec(make_config(2, 1));
  const RandomCheckpoint files(spec);
  const Checkpoint checkpoint = files.open();
  ThreadPool pool(1);
  const auto message = [&](std::vector<std::vector<int32_t>> calibration) -> std::string {
    LoadOptions options;
    options.calibration = std::move(calibration);
    try {
      quantize_awq(checkpoint, spec, format("awq"), options, pool);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Errc::kBadArgument);
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(message({}), "calibration: awq needs token sequences, got none");
  EXPECT_EQ(message({{}}), "calibration: awq needs token sequences, got none");
  EXPECT_EQ(message({{1, 2}, {3, 50}}), "calibration: sequence 1: wanted tokens below 50, got 50");
  EXPECT_EQ(message({{-1}}), "calibration: sequence 0: wanted tokens below 50, got -1");
  EXPECT_EQ(message({std::vector<int32_t>(65, 1)}), "calibration: sequence 0: wanted at most 64 tokens, got 65");
}

}  // namespace
}  // namespace trimeter
