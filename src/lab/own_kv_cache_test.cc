// A KV cache in 8 bits on models that are quantized already.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "containers/gguf_writer.h"
#include "containers/model_path.h"
#include "engine/engine.h"
#include "io/file.h"
#include "io/temporary_directory.h"
#include "lab/evaluation_set.h"
#include "lab/quantize.h"
#include "meters/distribution.h"
#include "model/float_tensor.h"
#include "model/forward_harness.h"
#include "model/quantize.h"
#include "spec/ledger.h"
#include "tensor/logits.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

constexpr int32_t kLength = 256;
constexpr EngineLimits kLimits{
    .max_model_len = kLength, .max_num_seqs = 4, .max_num_batched_tokens = kLength, .block_size = 16};

class OwnKvCache : public ::testing::Test {
 protected:
  OwnKvCache() {
    for (std::vector<int32_t>& tokens : calibration_.calibration)
      tokens.resize(std::min<size_t>(tokens.size(), kLength));
    std::iota(blocks_.begin(), blocks_.end(), 0);
  }

  fs::path quantized(const std::string& format, const std::string& container = "") {
    fs::path path = directory_.path() / (format + container);
    QuantizeOptions options;
    options.format = format;
    options.container = container;
    options.model = demo_;
    options.output = path;
    options.calibration = {texts_[0]};
    options.threads = pool_;
    run_quantize(options);
    return path;
  }
  fs::path gguf() {
    fs::path path = directory_.path() / "a.gguf";
    GgufCheckpoint(demo_, gguf_file_type("q4_0")).write(path, {});
    return path;
  }
  Format own(const fs::path& model, const std::string& kv = "") const {
    EngineOptions options;
    options.model = model;
    options.format = "own" + kv;
    return engine_format(options, open_model_spec(model));
  }
  ModelWeights load(const fs::path& model, const Format& format) {
    return load_weights(model, open_model_spec(model), format, calibration_, *pool_);
  }
  std::vector<float> logits(const ModelWeights& weights) {
    ForwardHarness model(weights, kLimits, *pool_, active_isa(), std::ssize(blocks_));
    return model.score({calibration_.calibration[1], blocks_}, kLength);
  }
  // Of K (0) and V (1) of a layer, over all calibration tokens, cached in floats by the whole model.
  std::vector<std::array<float, 2>> cached_amax(const ModelWeights& weights) {
    std::vector<std::array<float, 2>> amax(weights.layers.size());
    for (const std::vector<int32_t>& tokens : calibration_.calibration) {
      ForwardHarness model(weights, kLimits, *pool_, active_isa(), std::ssize(blocks_));
      model.score({tokens, blocks_}, kLength);
      const KvLayout& layout = model.kv().layout;
      std::vector<float> values(layout.head_dim * layout.block_size);
      for (int64_t i = 0; i < std::ssize(amax) * layout.n_kv_heads * (std::ssize(tokens) + 15) / 16; ++i) {
        const int64_t head = i % layout.n_kv_heads, layer = i / layout.n_kv_heads % layout.n_layers,
                      block = i / layout.n_kv_heads / layout.n_layers;
        for (const int half : {0, 1}) {
          const int64_t at = half ? layout.v_offset(block, layer, head) : layout.k_offset(block, layer, head);
          floats_from(model.kv().blocks + at, layout.dtype, std::ssize(values), values.data());
          for (const float value : values) amax[layer][half] = std::max(amax[layer][half], std::fabs(value));
        }
      }
    }
    return amax;
  }

  const fs::path demo_ = source_dir() / "models/demo";
  const std::vector<std::string> texts_ = read_calibration_texts(source_dir() / "data");
  std::shared_ptr<ThreadPool> pool_ = std::make_shared<ThreadPool>(2);
  const Tokenizer tokenizer_ = open_tokenizer(demo_);
  LoadOptions calibration_{.calibration = {tokenizer_.encode(texts_[0], true), tokenizer_.encode(texts_[1], true)},
                           .on_progress = {}};
  std::vector<int32_t> blocks_ = std::vector<int32_t>(kLength / kLimits.block_size);
  TemporaryDirectory directory_;
};

double mean_kld(const std::vector<float>& base, const std::vector<float>& got, int64_t vocab) {
  double sum = 0;
  for (int64_t at = 0; at < std::ssize(base); at += vocab) {
    const std::span<const float> b = std::span(base).subspan(at, vocab), g = std::span(got).subspan(at, vocab);
    sum += kl_divergence(b, log_sum_exp(b), g, log_sum_exp(g));
  }
  return sum * static_cast<double>(vocab) / static_cast<double>(base.size());
}

// The scales are those of what the quantized model itself caches, to the bit: every layer sees what the layers before
// it made of the tokens, in their own arithmetic.
TEST_F(OwnKvCache, ScalesOfFp8AreWhatTheModelCaches) {
  for (const fs::path& path : {quantized("w4a16"), quantized("fp8"), gguf()}) {
    SCOPED_TRACE(path.string());
    const Format format = own(path, "+kv-fp8");
    EXPECT_TRUE(needs_calibration(format));
    const ModelWeights plain = load(path, own(path)), got = load(path, format);
    EXPECT_EQ(got.memory().weights_bytes, plain.memory().weights_bytes);
    const std::vector<std::array<float, 2>> amax = cached_amax(plain);
    for (size_t i = 0; i < amax.size(); ++i) {
      EXPECT_EQ(got.layers[i].kv_scale.k, amax[i][0] / kE4M3Max) << i;
      EXPECT_EQ(got.layers[i].kv_scale.v, amax[i][1] / kE4M3Max) << i;
    }
  }
}

// Half the bytes a block, and a model that is still the same: far nearer to itself with a cache in floats than to the
// unquantized one.
TEST_F(OwnKvCache, OnTopOfEachContainer) {
  const std::vector<float> base = logits(load(demo_, format("bf16")));
  for (const fs::path& path : {quantized("w4a16"), quantized("w4a16", "gptq"), gguf()}) {
    SCOPED_TRACE(path.string());
    const Format plain = own(path);
    const ModelSpec spec = open_model_spec(path);
    const KvLayout floats = kv_layout(spec, plain, 16);
    const std::vector<float> quantized_logits = logits(load(path, plain));
    const double of_weights = mean_kld(base, quantized_logits, spec.vocab_size);
    for (const KvFormat& kv : all_kv_formats()) {
      SCOPED_TRACE(kv.name);
      const Format format = own(path, "+" + kv.name);
      EXPECT_EQ(format.name, plain.name + "+" + kv.name);
      EngineOptions options;  // its own name is another name of it
      options.model = path;
      options.format = format.name;
      EXPECT_EQ(engine_format(options, spec).name, format.name);
      const int64_t scales = kv.dtype == DType::kI8 ? 2 * spec.n_layers * spec.n_kv_heads * 16 * 2 : 0;
      EXPECT_EQ(kv_layout(spec, format, 16).block_bytes(), floats.block_bytes() / 2 + scales);
      const ModelWeights weights = load(path, format);
      EXPECT_TRUE(weights.kernel_lines(active_isa()).back().starts_with("kv_cache: "))
          << weights.kernel_lines(active_isa()).back();
      const double of_cache = mean_kld(quantized_logits, logits(weights), spec.vocab_size);
      EXPECT_GT(of_cache, 0);
      EXPECT_LT(of_cache, of_weights / 4);
    }
  }
}

// Scales beside the weights are used, whether the config asks for such a cache or not; all layers must have them.
TEST_F(OwnKvCache, ScalesOfTheCheckpoint) {
  const fs::path path = quantized("fp8+kv-fp8");
  const KvScale wanted = load(path, own(path)).layers[3].kv_scale;
  EXPECT_EQ(own(path).name, "fp8+kv-fp8");
  EXPECT_EQ(own(path, "+kv-int8").name, "fp8+kv-int8");
  EXPECT_FALSE(own(path, "+kv-int8").kv_scales_stored);
  auto config = nlohmann::json::parse(read_file(path / "config.json", 1 << 20));
  config["quantization_config"].erase("kv_cache_scheme");
  write_file_atomic(path / "config.json", config.dump());
  EXPECT_EQ(own(path).name, "fp8");
  EXPECT_EQ(load(path, own(path)).layers[3].kv_scale.k, 1);
  const Format format = own(path, "+kv-fp8");
  EXPECT_EQ(format.name, "fp8+kv-fp8");
  EXPECT_FALSE(needs_calibration(format));
  const ModelWeights weights = load(path, format);
  EXPECT_EQ(weights.layers[3].kv_scale.k, wanted.k);
  EXPECT_EQ(weights.layers[3].kv_scale.v, wanted.v);
  EXPECT_NE(wanted.k, 1);
  EXPECT_TRUE(weights.kernel_lines(active_isa()).back().ends_with("scales of the checkpoint"));

  std::string file = read_file(path / "model.safetensors", 1 << 30);
  const std::string name = "model.layers.3.self_attn.v_scale", other = "model.layers.3.self_attn.q_scale";
  file.replace(file.find(name), name.size(), other);
  write_file_atomic(path / "model.safetensors", file);
  try {
    load(path, own(path, "+kv-fp8"));
    ADD_FAILURE() << "a layer without a scale";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kNotFound);
    EXPECT_NE(std::string(error.what()).find(name), std::string::npos) << error.what();
  }
}

TEST_F(OwnKvCache, OfAModelInFloatsItIsTheFormatOfItsDtype) {
  EXPECT_EQ(own(demo_).name, "bf16");
  EXPECT_EQ(own(demo_, "+kv-int8").name, "bf16+kv-int8");
  EXPECT_TRUE(needs_calibration(own(demo_, "+kv-fp8")));
}

TEST_F(OwnKvCache, WhatThereIsNot) {
  const fs::path path = quantized("w4a16");
  const auto refusal = [&](const std::string& format) -> std::string {
    EngineOptions options;
    options.model = path;
    options.format = format;
    try {
      engine_format(options, open_model_spec(path));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadArgument);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refusal("own+kv-int3"), "format 'own+kv-int3': there is no 'kv-int3'; there are kv-fp8, kv-int8");
  EXPECT_EQ(refusal("awq+kv-int8"),
            path.string() +
                ": the checkpoint is quantized already: wanted its own format, 'w4a16', or that "
                "with a KV cache in 8 bits, own+kv-fp8 or own+kv-int8, got 'awq+kv-int8'");
  EXPECT_TRUE(refusal("aqw+kv-int8").starts_with("format 'aqw+kv-int8': there is no 'aqw'; there are bf16,"));
  LoadOptions none;
  EXPECT_THROW(load_weights(path, open_model_spec(path), own(path, "+kv-fp8"), none, *pool_), Error);
}

}  // namespace
}  // namespace trimeter
