#include "model/quantize.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "algorithms/awq.h"
#include "base/error.h"
#include "io/file.h"
#include "model/forward.h"
#include "spec/mixed_format.h"
#include "tensor/numeric.h"

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
  // The first norm's weights are `norm_size` large, the first up projection's `up_size`.
  explicit RandomCheckpoint(const ModelSpec& spec, float norm_size = 1.0f, float up_size = 0.05f)
      : directory_(testing::TempDir() + "awq_checkpoint_" + std::to_string(getpid())) {
    std::filesystem::create_directories(directory_);
    add("model.embed_tokens.weight", {kVocab, kHidden}, 1.0f, 0);
    for (int layer = 0; layer < spec.n_layers; ++layer) {
      const std::string prefix = "model.layers." + std::to_string(layer) + ".";
      add(prefix + "input_layernorm.weight", {kHidden}, layer == 0 ? norm_size : 1.0f, 10);
      add(prefix + "post_attention_layernorm.weight", {kHidden}, 1.0f, 10);
      for (const LinearSpec& linear : spec.linears_of_layer(layer))
        for (const LinearPart& part : linear.parts) {
          const bool outliers =
              part.tensor.find("v_proj") != std::string::npos || part.tensor.find("up_proj") != std::string::npos;
          const bool is_first_up = part.tensor == "model.layers.0.mlp.up_proj.weight";
          add(part.tensor, {part.n_rows, linear.shape.in}, is_first_up ? up_size : 0.05f, outliers ? 10 : 0);
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

std::vector<LayerWeights> quantize(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                                   const LoadOptions& options, ThreadPool& pool) {
  std::vector<LayerWeights> layers;
  quantize_layers(checkpoint, spec, format, options, pool,
                  [&](int, CanonicalLayer layer) { layers.push_back(pack(std::move(layer), pool)); });
  return layers;
}

std::vector<float> unpacked(const LinearWeight& linear) {
  std::vector<float> values(linear.spec.shape.out * linear.spec.shape.in);
  for (int64_t row = 0; row < linear.spec.shape.out; ++row)
    linear.scheme->unpack_row(linear.packed, row, &values[row * linear.spec.shape.in]);
  return values;
}

struct Function {
  double error, error_nearest;  // mean square, of the hidden states on tokens that calibration did not see
  QuantizationReport report;
};

// The layers' function in `format`, and with nearest codes, against the unquantized one.
Function quantized_function(const ModelSpec& spec, const Format& format, LoadOptions options, ThreadPool& pool) {
  const RandomCheckpoint files(spec);
  const Checkpoint checkpoint = files.open();
  std::vector<LayerWeights> dense, nearest, chosen;
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    dense.push_back(load_layer(checkpoint, spec, layer, trimeter::format("fp32"), pool));
    nearest.push_back(load_layer(checkpoint, spec, layer, format, pool));
  }
  options.calibration = random_sequences(1);
  QuantizationReport report = quantize_layers(checkpoint, spec, format, options, pool, [&](int, CanonicalLayer layer) {
    chosen.push_back(pack(std::move(layer), pool));
  });
  const std::vector<int32_t> tokens = random_sequences(2)[0];
  const auto want = hidden_states(std::move(dense), spec, trimeter::format("fp32"), checkpoint, tokens, pool);
  const auto rtn = hidden_states(std::move(nearest), spec, format, checkpoint, tokens, pool);
  const auto got = hidden_states(std::move(chosen), spec, format, checkpoint, tokens, pool);
  return {mean_square_difference(got, want), mean_square_difference(rtn, want), std::move(report)};
}

Format int4(const std::string& algorithm) {
  Format row = format("awq");
  row.algorithm = algorithm;
  return row;
}

class QuantizeAwq : public testing::TestWithParam<int64_t> {};

// A fold that is missing or done twice (a norm, a bias, v's or up's rows) changes the function by far more than four
// bits do, and a search for nothing would leave nearest rounding's error.
TEST_P(QuantizeAwq, KeepsTheFunctionBetterThanRoundToNearest) {
  ThreadPool pool(2);
  std::vector<int> progress;
  LoadOptions options;
  options.on_progress = [&](const std::string& what, int done, int) {
    EXPECT_EQ(what, "awq");
    progress.push_back(done);
  };
  const Function awq = quantized_function(make_model_spec(make_config(GetParam(), 2)), int4("awq"), options, pool);
  EXPECT_EQ(progress, (std::vector<int>{1, 2}));
  EXPECT_LT(awq.error, awq.error_nearest * 0.75);  // 0.39 and 0.52 here; 7 or more with a fold missing
  EXPECT_GT(awq.error, 0);
}

// 240 tokens of 256 channels: most of the error can be made good for them. Not so for other tokens, so that what is
// left depends on how alike they are.
TEST(QuantizeGptq, KeepsTheFunctionBetterThanRoundToNearest) {
  ThreadPool pool(2);
  const ModelSpec spec = make_model_spec(make_config(kHeads / 2, 2));
  const Function gptq = quantized_function(spec, int4("gptq"), {}, pool);
  EXPECT_LT(gptq.error, gptq.error_nearest * 0.8);
  EXPECT_GT(gptq.error, 0);
  const Function nearest = quantized_function(spec, int4("rtn"), {}, pool);
  EXPECT_EQ(nearest.error, nearest.error_nearest);
  ASSERT_EQ(gptq.report.linears.size(), 8u);
  for (size_t i = 0; i < 8; ++i)
    EXPECT_LT(gptq.report.linears[i].relative_error, nearest.report.linears[i].relative_error) << i;
}

// The inputs of layer 0's qkv in the unquantized model, summed.
InputStatistics qkv_inputs(const LayerWeights& dense, const ModelSpec& spec, const Checkpoint& checkpoint,
                           const std::vector<std::vector<int32_t>>& sequences, ThreadPool& pool) {
  InputStatistics input(kHidden);
  std::vector<float> embedding(kHidden), x(kHidden);
  for (const std::vector<int32_t>& sequence : sequences)
    for (const int32_t token : sequence) {
      std::memcpy(embedding.data(), checkpoint.at("model.embed_tokens.weight").bytes.data() + token * kHidden * 4,
                  kHidden * 4);
      double squares = 0;
      for (const float value : embedding) squares += static_cast<double>(value) * value;
      const double factor = 1 / std::sqrt(squares / kHidden + spec.rms_norm_eps);
      for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(embedding[i] * factor) * dense.input_norm[i];
      input.add(x.data(), 1, pool);
    }
  return input;
}

// Each weight off by a relative 2^-20 at most.
void disturb(LayerWeights& layer, std::mt19937& random, ThreadPool& pool) {
  std::uniform_real_distribution<float> uniform(-1, 1);
  const auto all = [&](std::span<float> values) {
    for (float& v : values) v += v * 0x1p-20f * uniform(random);
  };
  all(layer.input_norm);
  all(layer.post_attention_norm);
  for (LinearWeight* linear : {&layer.qkv, &layer.attention_out, &layer.gate_up, &layer.down}) {
    std::vector<float> values = unpacked(*linear);
    all(values);
    all(linear->bias);
    const DenseRows rows{reinterpret_cast<const std::byte*>(values.data()), DType::kF32, linear->spec.shape.out};
    linear->packed = linear->scheme->pack(linear->scheme->quantize_rtn({&rows, 1}, linear->spec.shape), pool);
  }
}

class SmoothQuantIdentity : public testing::TestWithParam<int64_t> {};

// Folded in fp32, the function stays as it was. Folding rounds each weight twice at most and each norm once (3 *
// 2^-24), and sums of scaled terms are rounded elsewhere; that is no more than weights disturbed by 4 * 2^-24 at
// random, whose effect is measured. A fold that is missing or shifted is some 10^6 times that.
TEST_P(SmoothQuantIdentity, TheFp32FunctionIsUnchanged) {
  ThreadPool pool(2);
  const ModelSpec spec = make_model_spec(make_config(GetParam(), 2));
  const RandomCheckpoint files(spec);
  const Checkpoint checkpoint = files.open();
  const Format fp32 = format("fp32");
  Format smooth = fp32;
  smooth.algorithm = "smoothquant";
  LoadOptions options;
  options.calibration = random_sequences(1);
  options.smoothquant.alpha = 0.5;
  const auto states = [&](auto&& change) {
    std::vector<LayerWeights> layers;
    for (int layer = 0; layer < spec.n_layers; ++layer) {
      layers.push_back(load_layer(checkpoint, spec, layer, fp32, pool));
      change(layers.back());
    }
    return hidden_states(std::move(layers), spec, fp32, checkpoint, random_sequences(2)[0], pool);
  };
  const std::vector<float> before = states([](LayerWeights&) {});
  double disturbed = 0;
  std::mt19937 random(17);
  for (int draw = 0; draw < 4; ++draw)
    disturbed =
        std::max(disturbed, mean_square_difference(before, states([&](LayerWeights& l) { disturb(l, random, pool); })));

  std::vector<LayerWeights> folded = quantize(checkpoint, spec, smooth, options, pool);
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    const LayerWeights dense = load_layer(checkpoint, spec, layer, fp32, pool);
    EXPECT_NE(folded[layer].input_norm, dense.input_norm);
    EXPECT_NE(folded[layer].post_attention_norm, dense.post_attention_norm);
    EXPECT_NE(unpacked(folded[layer].attention_out), unpacked(dense.attention_out));
    EXPECT_NE(unpacked(folded[layer].down), unpacked(dense.down));
  }
  const auto after = hidden_states(std::move(folded), spec, fp32, checkpoint, random_sequences(2)[0], pool);
  const double difference = mean_square_difference(before, after);
  EXPECT_GT(difference, 0);
  EXPECT_LT(difference, disturbed) << difference / disturbed;
}

INSTANTIATE_TEST_SUITE_P(KvHeads, SmoothQuantIdentity, testing::Values(1, kHeads / 2, kHeads));

// With groups of its own the scheme has to have them; static groups are any scheme's.
TEST(QuantizeGptq, ActOrderGoesToTheSchemesThatHaveIt) {
  ThreadPool pool(2);
  const ModelSpec spec = make_model_spec(make_config(kHeads / 2, 1));
  const auto in_scheme = [](const char* scheme) {
    Format row = int4("gptq");
    row.scheme = scheme;
    return row;
  };
  LoadOptions plain, ordered, with_static_groups;
  ordered.gptq = {.act_order = true};
  with_static_groups.gptq = {.act_order = true, .static_groups = true};
  const auto error = [&](const char* scheme, const LoadOptions& options) {
    const Function function = quantized_function(spec, in_scheme(scheme), options, pool);
    return function.error / function.error_nearest;
  };
  EXPECT_LT(error("int4_g128_order", ordered), 0.8);
  EXPECT_LT(error("int4_g128", with_static_groups), 0.8);
  EXPECT_EQ(error("int4_g128_order", plain), error("int4_g128", plain));
  try {
    error("int4_g128", ordered);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Errc::kBadArgument);
    EXPECT_STREQ(e.what(),
                 "format awq: model.layers.0.self_attn.qkv_proj: act-order with groups of its own needs a scheme that "
                 "says the group of each input, got int4_g128; static groups need none");
  }
}

// Scales of activations as amax of what the linear sees gives them, to the last bit for qkv, whose input is known.
TEST(QuantizeCalibration, StaticScalesAreThoseOfTheInputs) {
  ThreadPool pool(2);
  const ModelSpec spec = make_model_spec(make_config(kHeads / 2, 1));
  const RandomCheckpoint files(spec);
  const Checkpoint checkpoint = files.open();
  Format row = format("fp8-static");
  LoadOptions options;
  options.calibration = random_sequences(1);
  options.activations.range = ActivationOptions::Range::kAmax;
  const LayerWeights got = std::move(quantize(checkpoint, spec, row, options, pool)[0]);
  const LayerWeights dense = load_layer(checkpoint, spec, 0, format("fp32"), pool);
  const InputStatistics input = qkv_inputs(dense, spec, checkpoint, options.calibration, pool);
  const float want = *std::max_element(input.amax.begin(), input.amax.end()) / 448;
  EXPECT_NEAR(got.qkv.packed.input_scale, want, want * 1e-6f);
  for (const LinearWeight* linear : {&got.attention_out, &got.gate_up, &got.down})
    EXPECT_NE(linear->packed.input_scale, got.qkv.packed.input_scale);
  options.activations = {.range = ActivationOptions::Range::kPercentile, .percentile = 90};
  EXPECT_LT(quantize(checkpoint, spec, row, options, pool)[0].qkv.packed.input_scale, 0.8f * want);
}

// Of one token, whose k and v are a product with a known input: rope turns nothing at position 0.
TEST(QuantizeCalibration, KvScalesAreOfTheCache) {
  ThreadPool pool(2);
  const ModelSpec spec = make_model_spec(make_config(kHeads / 2, 2));
  const RandomCheckpoint files(spec);
  const Checkpoint checkpoint = files.open();
  LoadOptions options;
  options.calibration = {{3}};
  std::vector<KvScale> got;
  quantize_layers(checkpoint, spec, format("bf16"), options, pool,
                  [&](int, const CanonicalLayer& layer) { got.push_back(layer.kv_scale); });
  ASSERT_EQ(got.size(), 2u);
  const LayerWeights dense = load_layer(checkpoint, spec, 0, format("fp32"), pool);
  const InputStatistics input = qkv_inputs(dense, spec, checkpoint, options.calibration, pool);
  const std::vector<float> weight = unpacked(dense.qkv);
  float amax[2] = {};
  const int64_t kv_rows = dense.qkv.spec.parts.back().n_rows, out = dense.qkv.spec.shape.out;
  for (int64_t row = out - 2 * kv_rows; row < out; ++row) {
    double y = dense.qkv.bias[row];
    for (int64_t i = 0; i < kHidden; ++i) y += static_cast<double>(weight[row * kHidden + i]) * input.sample[i];
    float& most = amax[row >= out - kv_rows];
    most = std::max(most, static_cast<float>(std::fabs(y)));
  }
  EXPECT_NEAR(got[0].k * kE4M3Max, amax[0], 1e-5f * amax[0]);
  EXPECT_NEAR(got[0].v * kE4M3Max, amax[1], 1e-5f * amax[1]);
  EXPECT_NE(got[0].k, got[1].k);
}

TEST(QuantizationReport, NamesAndRanksTheLinears) {
  ThreadPool pool(2);
  const ModelSpec spec = make_model_spec(make_config(kHeads, 2));
  const QuantizationReport report = quantized_function(spec, int4("rtn"), {}, pool).report;
  const std::vector<LinearSpec> linears = spec.linears();
  ASSERT_EQ(report.linears.size(), linears.size());
  for (size_t i = 0; i < linears.size(); ++i) {
    EXPECT_EQ(report.linears[i].module, module_name(linears[i]));
    EXPECT_EQ(report.linears[i].scheme, "int4_g128_zp");
  }
  const std::vector<LinearError> ranking = report.ranking();
  ASSERT_EQ(ranking.size(), linears.size());
  for (size_t i = 1; i < ranking.size(); ++i) EXPECT_GE(ranking[i - 1].relative_error, ranking[i].relative_error);
  EXPECT_EQ(report.worst(2), (std::vector<std::string>{ranking[0].module, ranking[1].module}));
  EXPECT_EQ(report.worst(100).size(), linears.size());
}

// The recipe that --keep-worst makes: what is kept is nearly exact, the rest is as it was, and the whole is better.
TEST(QuantizationReport, TheWorstLinearsKeptIn16BitsAreExact) {
  ThreadPool pool(2);
  const ModelSpec spec = make_model_spec(make_config(kHeads / 2, 1));
  for (const char* algorithm : {"rtn", "gptq", "awq"}) {
    const Function plain = quantized_function(spec, int4(algorithm), {}, pool);
    const std::vector<std::string> kept = plain.report.worst(2);
    const Function mixed = quantized_function(spec, keep_16bit(spec, int4(algorithm), kept), {}, pool);
    for (size_t i = 0; i < plain.report.linears.size(); ++i) {
      const LinearError &before = plain.report.linears[i], &after = mixed.report.linears[i];
      const bool is_kept = std::find(kept.begin(), kept.end(), before.module) != kept.end();
      EXPECT_EQ(after.scheme, is_kept ? "bf16" : "int4_g128_zp");
      // bf16 rounds weights and activations by 2^-9 at most.
      if (is_kept)
        EXPECT_LT(after.relative_error, 4 * 0x1p-18) << algorithm << ": " << after.module;
      else
        EXPECT_GT(after.relative_error, 1e-4) << algorithm << ": " << after.module;
    }
    EXPECT_LT(mixed.error, plain.error) << algorithm;
  }
}

// A share of the groups: of those in which more than a value or two, which a rounding tie may move, differ.
double share_of_groups_that_differ(std::span<const float> a, std::span<const float> b) {
  constexpr size_t kGroup = 128;
  int n_differ = 0;
  for (size_t group = 0; group < a.size(); group += kGroup) {
    int n = 0;
    for (size_t i = group; i < group + kGroup; ++i) n += std::fabs(a[i] - b[i]) > 1e-6f;
    n_differ += n > 2;
  }
  return n_differ / static_cast<double>(a.size() / kGroup);
}

// qkv redone by hand from the scales that were folded into the norm: q and k are nearest codes of the scaled weights,
// unclipped; v is clipped for the inputs as they are after the division.
TEST(QuantizeAwqParts, ClipsVAloneAndForTheScaledInputs) {
  const ModelSpec spec = make_model_spec(make_config(kHeads / 2, 1));  // no scales between v and o
  const RandomCheckpoint files(spec);
  const Checkpoint checkpoint = files.open();
  const Scheme& int4 = scheme("int4_g128_zp");
  ThreadPool pool(2);
  LoadOptions options;
  options.calibration = random_sequences(1);
  const LayerWeights got = std::move(quantize(checkpoint, spec, format("awq"), options, pool)[0]);
  const LayerWeights dense = load_layer(checkpoint, spec, 0, format("fp32"), pool);
  std::vector<float> scales(kHidden);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = dense.input_norm[i] / got.input_norm[i];
  const auto [least, most] = std::minmax_element(scales.begin(), scales.end());
  ASSERT_GT(*most, 2 * *least) << "nothing was scaled: the test shows nothing";

  std::vector<float> weight = unpacked(dense.qkv);
  multiply_columns(weight, scales);
  const auto nearest = [&](const std::vector<float>& rows) {
    const DenseRows part{reinterpret_cast<const std::byte*>(rows.data()), DType::kF32, got.qkv.spec.shape.out};
    return int4.dequantize(int4.quantize_rtn({&part, 1}, got.qkv.spec.shape));
  };
  const std::vector<float> codes = unpacked(got.qkv), unclipped = nearest(weight);
  const size_t n_qk = weight.size() - got.qkv.spec.parts.back().n_rows * kHidden;
  EXPECT_LT(share_of_groups_that_differ(std::span(codes).first(n_qk), std::span(unclipped).first(n_qk)), 0.01);

  InputStatistics input = qkv_inputs(dense, spec, checkpoint, options.calibration, pool);
  const auto v_differs_from = [&](const std::vector<float>& rows) {
    return share_of_groups_that_differ(std::span(codes).subspan(n_qk), std::span(rows).subspan(n_qk));
  };
  const auto clipped = [&] {
    std::vector<float> rows = weight;
    awq_clip(std::span(rows).subspan(n_qk), input, int4, {}, pool);
    return nearest(rows);
  };
  EXPECT_GT(v_differs_from(unclipped), 0.1) << "nothing was clipped";
  EXPECT_GT(v_differs_from(clipped()), 0.1) << "the division makes no difference";
  input.divide(scales);
  EXPECT_LT(v_differs_from(clipped()), 0.01);
}

TEST_P(QuantizeAwq, SameBitsForAnyNumberOfThreads) {
  const ModelSpec spec = make_model_spec(make_config(GetParam(), 1));
  const RandomCheckpoint files(spec);
  const Checkpoint checkpoint = files.open();
  LoadOptions options;
  options.calibration = random_sequences(1);
  ThreadPool one(1), two(2);
  const Format int4 = format("awq");
  const auto a = quantize(checkpoint, spec, int4, options, one);
  const auto b = quantize(checkpoint, spec, int4, options, two);
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
      quantize(checkpoint, spec, format("awq"), options, pool);
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

// Two threads: what a worker met it could tell nobody.
TEST(QuantizeAwqErrors, WhatOverflowsIsNamed) {
  const ModelSpec spec = make_model_spec(make_config(2, 1));
  const auto message = [&](float norm_size, float up_size) -> std::string {
    const RandomCheckpoint files(spec, norm_size, up_size);
    ThreadPool pool(2);
    try {
      LoadOptions options;
      options.calibration = {{1, 2, 3}};
      quantize(files.open(), spec, format("awq"), options, pool);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kUnsupported);
      return error.what();
    }
    return "";
  };
  EXPECT_NE(message(1, 1e36f).find("model.safetensors: tensor 'model.layers.0.mlp.up_proj.weight': wanted values up to "
                                   "65504, the largest that fp16 has, got "),
            std::string::npos);
  EXPECT_NE(message(1e25f, 0.05f)
                .find("model.safetensors: tensor 'model.layers.0.self_attn.q_proj.weight': calibration: channel "),
            std::string::npos);
}

}  // namespace
}  // namespace trimeter
