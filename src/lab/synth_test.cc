#include "lab/synth.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "containers/container.h"
#include "containers/gguf_mixture.h"
#include "containers/model_path.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "io/temporary_directory.h"
#include "lab/quantize_nearest.h"
#include "lab/subject.h"
#include "spec/ledger.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr ModelShape kTiny{.name = "tiny",
                           .family = ModelFamily::kQwen25,
                           .hidden_size = 64,
                           .intermediate_size = 96,
                           .n_layers = 2,
                           .n_heads = 4,
                           .n_kv_heads = 2,
                           .head_dim = 16,
                           .vocab_size = 12'000,
                           .max_position_embeddings = 128,
                           .tie_word_embeddings = true};

std::string weights_of(const ModelShape& shape, uint64_t seed, int n_threads) {
  const TemporaryDirectory directory;
  ThreadPool pool(n_threads);
  write_synthetic(shape, seed, directory.path(), pool, {});
  return read_file(directory.path() / "model.safetensors");
}

TEST(Synth, TheSameBytesForASeedWhateverTheThreads) {
  const std::string bytes = weights_of(kTiny, 1, 1);
  EXPECT_TRUE(bytes == weights_of(kTiny, 1, 3));
  EXPECT_FALSE(bytes == weights_of(kTiny, 2, 1));
}

// n values: their mean square is off by sqrt(2/n) of the variance, their mean by deviation / sqrt(n), times 5.
TEST(Synth, WeightsAreOfTheStatedScaleAndNoRowIsAnothers) {
  const TemporaryDirectory directory;
  ThreadPool pool(2);
  write_synthetic(kTiny, 0, directory.path(), pool, {});
  const Checkpoint checkpoint = Checkpoint::open(directory.path());
  const std::pair<const char*, double> wanted[] = {{"model.embed_tokens.weight", 0.02},
                                                   {"model.layers.1.mlp.up_proj.weight", 0.02},
                                                   {"model.layers.1.self_attn.o_proj.weight", 0.01},
                                                   {"model.layers.0.mlp.down_proj.weight", 0.01}};
  for (const auto& [name, deviation] : wanted) {
    const TensorView& tensor = checkpoint.at(name);
    const auto* values = reinterpret_cast<const uint16_t*>(tensor.bytes.data());
    const auto n = static_cast<int64_t>(tensor.bytes.size() / 2);
    const int64_t in = tensor.shape.back();
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) {
      const double value = bf16_to_float(values[i]);
      sum += value;
      squares += value * value;
    }
    const auto count = static_cast<double>(n);
    EXPECT_NEAR(squares / count, deviation * deviation, 5 * deviation * deviation * std::sqrt(2 / count)) << name;
    EXPECT_NEAR(sum / count, 0, 5 * deviation / std::sqrt(count)) << name;
    EXPECT_NE(std::vector(values, values + in), std::vector(values + in, values + 2 * in)) << name;
  }
}

TEST(Synth, ATokenizerOfTheWholeVocabularyThatLosesNothing) {
  for (const ModelFamily family : {ModelFamily::kQwen25, ModelFamily::kLlama32}) {
    ModelShape shape = kTiny;
    shape.family = family;
    const TemporaryDirectory directory;
    ThreadPool pool(1);
    write_synthetic(shape, 0, directory.path(), pool, {});
    const Subject subject = read_subject(directory.path());
    EXPECT_EQ(subject.tokenizer.vocab_size(), shape.vocab_size);
    const std::string text = "The quick brown fox; l\xc3\xa9g\xc3\xa8re \xe6\x96\x87\n\n\t42!";
    const std::vector<int32_t> tokens = subject.encode_text(text);
    EXPECT_EQ(subject.tokenizer.decode(tokens, false), text);
    EXPECT_LT(tokens.size(), text.size());
    EXPECT_FALSE(subject.encode_chat({{"user", text}}).empty());
  }
}

TEST(Synth, InEveryFormatThatHasAContainerOfItsOwn) {
  ModelShape shape = kTiny;  // whole groups of 128, and blocks of 256
  shape.hidden_size = shape.intermediate_size = 256;
  shape.head_dim = 64;
  const TemporaryDirectory directory;
  const auto pool = std::make_shared<ThreadPool>(2);
  const std::filesystem::path dense = directory.path() / "dense";
  std::filesystem::create_directory(dense);
  write_synthetic(shape, 0, dense, *pool, {});
  for (const Format& format : all_formats()) {
    if (format.container == kDenseContainer || !is_written(format)) continue;
    const std::filesystem::path output = directory.path() / (format.container == "gguf" ? "model.gguf" : "model");
    quantize_nearest(dense, format, output, true, pool, [](const std::string&, int, int) {});
    const std::optional<Format> read = own_format(output, open_model_spec(output));
    if (format.algorithm == "none") continue;  // floats in a GGUF file
    ASSERT_TRUE(read.has_value()) << format.name;
    EXPECT_EQ(weight_ledger(open_model_spec(output), *read).linear_bytes,
              weight_ledger(open_model_spec(dense), with_gguf_mixture(format, open_model_spec(dense))).linear_bytes)
        << format.name;
  }
}

// The counts that the models' own pages give.
TEST(Synth, ShapesAreThePublishedOnes) {
  const std::pair<const char*, int64_t> parameters[] = {
      {"qwen2.5-0.5b", 494'032'768},   {"qwen2.5-1.5b", 1'543'714'304}, {"qwen2.5-7b", 7'615'616'512},
      {"llama-3.2-1b", 1'235'814'400}, {"llama-3.2-3b", 3'212'749'824}, {"llama-3.1-8b", 8'030'261'248},
      {"qwen2.5-3b", 3'085'938'688}};
  for (const auto& [name, n] : parameters) {
    const TemporaryDirectory directory;
    write_file_atomic(directory.path() / "config.json", synthetic_config(shape_named(name)));
    EXPECT_EQ(make_model_spec(read_hf_config(directory.path())).n_parameters(), n) << name;
  }
  EXPECT_THROW(shape_named("qwen"), Error);
}

}  // namespace
}  // namespace trimeter
