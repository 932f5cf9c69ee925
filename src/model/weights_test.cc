#include "model/weights.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "io/file.h"
#include "io/temporary_directory.h"
#include "model/float_tensor.h"
#include "model/forward_harness.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

const std::filesystem::path kDemo = source_dir() / "models/demo";
const std::filesystem::path kGolden = source_dir() / "tests/golden/logits";
const std::filesystem::path kUntied = kGolden / "qwen2_untied";

ModelSpec spec_of(const std::filesystem::path& directory) { return make_model_spec(read_hf_config(directory)); }

std::vector<float> file_row(const std::filesystem::path& directory, int64_t row) {
  const TensorView tensor = Checkpoint::open(directory).at("model.embed_tokens.weight");
  std::vector<float> values(static_cast<size_t>(tensor.shape[1]));
  floats_from(tensor.bytes.data() + row * tensor.shape[1] * size_of(tensor.dtype), tensor.dtype, tensor.shape[1],
              values.data());
  return values;
}

TEST(Weights, MemoryIsTheLedgersToTheByte) {
  ThreadPool pool(2);
  for (const char* model :
       {"qwen2_untied", "llama2_fp16", "llama3_sharded", "llama_linear_rope", "llama_biases_fp32"}) {
    const ModelSpec spec = spec_of(kGolden / model);
    for (const char* dense : {"bf16", "fp16", "fp32", "fp8"}) {
      const MemoryBreakdown want = weight_ledger(spec, format(dense));
      const MemoryBreakdown got = load_weights(kGolden / model, spec, format(dense), {}, pool).memory();
      EXPECT_EQ(got.linear_bytes, want.linear_bytes) << model << " " << dense;
      EXPECT_EQ(got.scales_bytes, want.scales_bytes) << model << " " << dense;
      EXPECT_EQ(got.embedding_bytes, want.embedding_bytes) << model << " " << dense;
      EXPECT_EQ(got.norm_bytes, want.norm_bytes) << model << " " << dense;
      EXPECT_EQ(got.weights_bytes, want.weights_bytes) << model << " " << dense;
    }
  }
  for (const Format& row : all_formats()) {
    const ModelSpec spec = spec_of(kDemo);
    const Format rtn = rtn_format(row, spec);
    EXPECT_EQ(load_weights(kDemo, spec, rtn, rtn_options(), pool).memory().weights_bytes,
              weight_ledger(spec, rtn).weights_bytes)
        << row.name;
  }
}

TEST(Weights, LmHeadInAnotherFormatIsTheLedgersAndGivesTheEmbeddingsRows) {
  ThreadPool pool(2);
  for (const auto& [model, n_embeddings] : {std::pair(kDemo, 1), std::pair(kUntied, 2)}) {
    const ModelSpec spec = spec_of(model);
    const Format quantized = format("fp8+lm_head-w8a16");
    const ModelWeights weights = load_weights(model, spec, quantized, {}, pool);
    EXPECT_EQ(weights.memory().embedding_bytes, weight_ledger(spec, quantized).embedding_bytes);
    EXPECT_EQ(weights.lm_head.scheme->info().name, "int8w");
    // A tied embedding is within a step of its row's grid (half a step, and up to half of one where the scale's
    // rounding to bf16 clips the largest), an untied one is the file's.
    const std::vector<float> wanted = file_row(model, 7);
    std::vector<float> got(wanted.size());
    weights.embed(7, got.data());
    float largest = 0;
    for (const float value : wanted) largest = std::max(largest, std::fabs(value));
    const float bound = n_embeddings == 2 ? 0 : largest / 127;
    for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(got[i], wanted[i], bound) << i;
  }
}

int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t size = 0, resident = 0;
  statm >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// The packed form is the only resident copy, while loading too: the file's pages are given back matrix by matrix.
TEST(Weights, LoadingKeepsOneCopyResident) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's shadow memory is resident too";
  ThreadPool pool(2);
  const ModelSpec spec = spec_of(kDemo);
  const MemoryBreakdown ledger = weight_ledger(spec, format("bf16"));
  const auto most = [](int64_t packed) { return packed + packed * 3 / 10 + (2 << 20); };
  malloc_trim(0);  // what the tests before it freed would be taken again
  const int64_t before = resident_bytes();
  int n_layers_seen = 0;
  LoadOptions options;
  options.on_progress = [&](const std::string&, int done, int total) {
    ++n_layers_seen;
    EXPECT_LT(resident_bytes() - before, most(ledger.linear_bytes * done / total)) << "after layer " << done;
  };
  const ModelWeights weights = load_weights(kDemo, spec, format("bf16"), options, pool);
  EXPECT_EQ(n_layers_seen, 6);
  const int64_t grown = resident_bytes() - before;
  EXPECT_GT(grown, ledger.weights_bytes / 2);
  EXPECT_LT(grown, most(ledger.weights_bytes));
}

TEST(Weights, EmbedsTheFilesRowsInTheDenseDtype) {
  ThreadPool pool(2);
  struct Case {
    std::filesystem::path model;
    const char* format;
    float (*round)(float);
  };
  const auto exact = [](float x) { return x; };
  const auto as_bf16 = [](float x) { return bf16_to_float(bf16_from_float(x)); };
  const auto as_f16 = [](float x) { return f16_to_float(f16_from_float(x)); };
  const Case cases[] = {{kDemo, "bf16", exact},
                        {kDemo, "fp16", as_f16},
                        {kDemo, "fp8", exact},
                        {kUntied, "bf16", exact},
                        {kUntied, "fp16", as_f16},
                        {kUntied, "fp32", exact},
                        {kGolden / "llama2_fp16", "fp8", exact},
                        {kGolden / "llama_biases_fp32", "fp32", exact},
                        {kGolden / "llama_biases_fp32", "bf16", as_bf16},
                        {kGolden / "llama_biases_fp32", "fp8", as_bf16}};
  for (const Case& c : cases) {
    const ModelWeights weights = load_weights(c.model, spec_of(c.model), format(c.format), {}, pool);
    std::vector<float> got(static_cast<size_t>(weights.spec.hidden_size));
    for (const int32_t token : {0, 17, 299}) {
      weights.embed(token, got.data());
      std::vector<float> want = file_row(c.model, token);
      for (float& x : want) x = c.round(x);
      EXPECT_EQ(got, want) << c.model << " " << c.format << " token " << token;
    }
  }
}

TEST(Weights, KernelLinesNameRoleKernelAndBothArithmetics) {
  ThreadPool pool(1);
  const ModelWeights weights = load_weights(kUntied, spec_of(kUntied), format("fp8"), {}, pool);
  const std::vector<std::string> lines = weights.kernel_lines(Isa::kScalar);
  ASSERT_EQ(lines.size(), 5u);
  const KernelPlan plan = scheme("fp8_e4m3").plan(Isa::kScalar);
  EXPECT_EQ(lines[0], "qkv_proj: " + plan.kernel + ": fp8 requested, " + plan.executed + " executed: " + plan.reason);
  EXPECT_EQ(lines[4].rfind("lm_head: ", 0), 0u);
  EXPECT_NE(lines[4].find("bf16 requested"), std::string::npos);
}

// The untied model with `spoil` applied to its file's bytes and to its spec.
struct Spoiled {
  const char* says;
  Errc code;
  std::function<void(std::string&)> file = [](std::string&) {};
  std::function<void(ModelSpec&)> spec = [](ModelSpec&) {};
  const char* format = "bf16";
};

std::function<void(std::string&)> with_first_value(const char* tensor, uint16_t bits) {
  const TensorView view = Checkpoint::open(kUntied).at(tensor);
  const auto at = static_cast<size_t>(view.bytes.data() - view.file->bytes().data());
  return [at, bits](std::string& file) {
    file[at] = static_cast<char>(bits & 0xff);
    file[at + 1] = static_cast<char>(bits >> 8);
  };
}

void every_dtype_is_i16(std::string& file) {
  const std::string was = "\"BF16\"", is = "\"I16\" ";
  for (size_t at = file.find(was); at != std::string::npos; at = file.find(was, at)) file.replace(at, was.size(), is);
}

TEST(Weights, RefusesNamingFileAndTensor) {
  constexpr uint16_t kBf16Nan = 0x7fc0, kBf16Infinity = 0x7f80, kBf16TwoTo16 = 0x4780;
  const char* down = "model.layers.1.mlp.down_proj.weight";
  const Spoiled cases[] = {
      {"model.layers.2.input_layernorm.weight", Errc::kNotFound, [](std::string&) {},
       [](ModelSpec& spec) { spec.n_layers = 3; }},
      {"'model.layers.1.input_layernorm.weight' is not part of", Errc::kBadFile, [](std::string&) {},
       [](ModelSpec& spec) { spec.n_layers = 1; }},
      {"k_proj.bias' is not part of", Errc::kBadFile, [](std::string&) {},
       [](ModelSpec& spec) { spec.qkv_bias = false; }},
      {"mlp.gate_proj.weight", Errc::kBadFile, [](std::string&) {},
       [](ModelSpec& spec) { spec.intermediate_size = 256; }},
      {"infinity or NaN", Errc::kBadFile, with_first_value(down, kBf16Nan)},
      {"infinity or NaN", Errc::kBadFile, with_first_value("model.norm.weight", kBf16Infinity)},
      {"infinity or NaN", Errc::kBadFile, with_first_value("model.embed_tokens.weight", kBf16Nan)},
      {"wanted BF16, F16 or F32, got I16", Errc::kBadFile, every_dtype_is_i16},
      {"wanted values up to 65504, the largest that fp16 has, got 65536", Errc::kUnsupported,
       with_first_value(down, kBf16TwoTo16), [](ModelSpec&) {}, "fp16"},
  };
  ThreadPool pool(2);
  for (const Spoiled& c : cases) {
    const TemporaryDirectory directory;
    std::string file = read_file(kUntied / "model.safetensors");
    c.file(file);
    directory.write("model.safetensors", file);
    ModelSpec spec = spec_of(kUntied);
    c.spec(spec);
    try {
      load_weights(directory.path(), spec, format(c.format), {}, pool);
      ADD_FAILURE() << "loaded: " << c.says;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.code(), c.code) << message;
      EXPECT_NE(message.find(directory.path().string()), std::string::npos) << message;
      EXPECT_NE(message.find(c.says), std::string::npos) << message;
    }
  }
  // What fp16 can't hold, bf16 can.
  const TemporaryDirectory directory;
  std::string file = read_file(kUntied / "model.safetensors");
  with_first_value(down, kBf16TwoTo16)(file);
  directory.write("model.safetensors", file);
  EXPECT_NO_THROW(load_weights(directory.path(), spec_of(kUntied), format("bf16"), {}, pool));
}

// Gathers what a device would take.
class Gather : public WeightSink {
 public:
  void layer(int index, CanonicalLayer weights) override {
    EXPECT_EQ(index, std::ssize(layers));
    layers.push_back(std::move(weights));
  }
  void final_norm(std::vector<float> gain) override { norm = std::move(gain); }
  void lm_head(CanonicalLinear weight) override { head = weight.weight.shape; }
  void embedding(const TensorView& rows) override { embedding_shape = rows.shape; }

  std::vector<CanonicalLayer> layers;
  std::vector<float> norm;
  MatShape head;
  std::vector<int64_t> embedding_shape;
};

TEST(Weights, AStreamBringsEveryLayerInOrderAsItIsReadAlone) {
  ThreadPool pool(3);  // layers are quantized ahead of the sink
  const ModelSpec spec = spec_of(kDemo);
  const Checkpoint checkpoint = Checkpoint::open(kDemo);
  Gather gathered;
  stream_weights(kDemo, spec, format("w4a16"), {}, pool, gathered);
  ASSERT_EQ(std::ssize(gathered.layers), spec.n_layers);
  for (int i = 0; i < spec.n_layers; ++i) {
    const CanonicalLayer want = read_layer(checkpoint, spec, i, format("w4a16"), pool);
    const CanonicalLayer& got = gathered.layers[static_cast<size_t>(i)];
    EXPECT_EQ(got.input_norm, want.input_norm) << i;
    EXPECT_EQ(got.qkv.bias, want.qkv.bias) << i;
    EXPECT_EQ(got.qkv.weight.codes, want.qkv.weight.codes) << i;
    EXPECT_EQ(got.down.weight.scales, want.down.weight.scales) << i;
  }
  EXPECT_EQ(std::ssize(gathered.norm), spec.hidden_size);
  EXPECT_EQ(gathered.head.out, spec.vocab_size);
  EXPECT_TRUE(gathered.embedding_shape.empty()) << "it is tied";

  Gather untied;
  const ModelSpec untied_spec = spec_of(kUntied);
  stream_weights(kUntied, untied_spec, format("bf16"), {}, pool, untied);
  EXPECT_EQ(untied.embedding_shape, (std::vector<int64_t>{untied_spec.vocab_size, untied_spec.hidden_size}));
}

}  // namespace
}  // namespace trimeter
