// Written directories against the same formats in memory, on the demo model's first layer.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "containers/container.h"
#include "containers/gguf_model.h"
#include "containers/gguf_writer.h"
#include "containers/scheme_traits.h"
#include "containers/stored_quantization.h"
#include "io/file.h"
#include "io/safetensors_writer.h"
#include "io/temporary_directory.h"
#include "lab/evaluation_set.h"
#include "lab/quantize.h"
#include "meters/distribution.h"
#include "model/forward_harness.h"
#include "spec/ledger.h"
#include "tensor/logits.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

constexpr EngineLimits kLimits{
    .max_model_len = 256, .max_num_seqs = 4, .max_num_batched_tokens = 256, .block_size = 16};
constexpr const char* kText = "The old sailor had never seen a harbour so quiet, and he told the boy to wait.";

// The demo model, cut to one layer.
class SmallModel {
 public:
  SmallModel() {
    const fs::path demo = source_dir() / "models/demo";
    const Checkpoint whole = Checkpoint::open(demo);
    std::vector<TensorInfo> infos;
    for (const auto& [name, view] : whole.tensors())
      if (!name.starts_with("model.layers.") || name.starts_with("model.layers.0."))
        infos.push_back({name, view.dtype, view.shape});
    SafetensorsWriter writer(directory_.path(), infos);
    for (const TensorInfo& info : infos) writer.write(info.name, whole.at(info.name).bytes);
    writer.finish();
    for (const auto& entry : fs::directory_iterator(demo))
      if (entry.path().extension() != ".safetensors" && entry.is_regular_file())
        fs::copy_file(entry.path(), directory_.path() / entry.path().filename());
    auto config = nlohmann::json::parse(read_file(demo / "config.json", 1 << 20));
    config["num_hidden_layers"] = 1;
    write_file_atomic(directory_.path() / "config.json", config.dump());
  }
  const fs::path& path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
};

std::vector<std::string> calibration() {
  std::vector<std::string> texts = read_calibration_texts(source_dir() / "data");
  texts.resize(2);
  return texts;
}

class QuantizeTest : public ::testing::Test {
 protected:
  QuantizeOptions options(const std::string& format) {
    QuantizeOptions options;
    options.format = format;
    options.model = model_.path();
    options.output = out_.path() / "model";
    options.calibration = calibration();
    options.force = true;
    options.threads = pool_;
    return options;
  }

  std::vector<float> logits(const fs::path& directory, const Format& format, const LoadOptions& load) {
    const ModelWeights weights = load_weights(directory, spec_, format, load, *pool_);
    kv_scale_ = weights.layers[0].kv_scale;
    weights_bytes_ = weights.memory().weights_bytes;
    ForwardHarness model(weights, kLimits, *pool_, active_isa(), kLimits.max_model_len / kLimits.block_size);
    std::vector<int32_t> blocks(kLimits.max_model_len / kLimits.block_size);
    std::iota(blocks.begin(), blocks.end(), 0);
    HarnessSeq seq{read_subject(directory).encode_text(kText), blocks};
    return model.score(seq, kLimits.max_num_batched_tokens);
  }
  std::vector<float> written_logits() {
    const fs::path directory = out_.path() / "model";
    return logits(directory, checkpoint_format(directory, spec_).value(), {});
  }
  // As it is quantized at load.
  std::vector<float> loaded_logits(const QuantizeOptions& options) {
    LoadOptions load = algorithm_options(options);
    const Subject subject = read_subject(model_.path());
    for (const std::string& text : options.calibration) load.calibration.push_back(subject.encode_text(text));
    return logits(model_.path(), recipe_format(options, spec_), load);
  }
  double mean_kld(const std::vector<float>& base, const std::vector<float>& got) const {
    const auto vocab = static_cast<size_t>(spec_.vocab_size);
    double sum = 0;
    for (size_t at = 0; at < base.size(); at += vocab) {
      const std::span<const float> b = std::span(base).subspan(at, vocab), g = std::span(got).subspan(at, vocab);
      sum += kl_divergence(b, log_sum_exp(b), g, log_sum_exp(g));
    }
    return sum / static_cast<double>(base.size() / vocab);
  }

  std::shared_ptr<ThreadPool> pool_ = std::make_shared<ThreadPool>(2);
  SmallModel model_;
  TemporaryDirectory out_;
  ModelSpec spec_ = read_model_spec(model_.path());
  KvScale kv_scale_;
  int64_t weights_bytes_ = 0;
};

// Bit for bit where no scale was folded into a norm: files hold norms in the model's own dtype.
TEST_F(QuantizeTest, AWrittenDirectoryIsTheFormatInMemory) {
  std::vector<QuantizeOptions> recipes = {options("fp8+kv-fp8"),  options("gptq"),        options("fp8-static"),
                                          options("bf16+kv-fp8"), options("fp8-channel"), options("fp8-block"),
                                          options("fp8-static"),  options("int8-static"), options("w8a16"),
                                          options("awq"),         options("int8"),        options("w4a16")};
  recipes[1].group_size = 64;
  recipes[1].act_order = recipes[1].search_range = true;
  recipes[1].damp = 0.05;
  recipes[2].activation_scale = ActivationOptions::Range::kPercentile;
  recipes[2].percentile = 99;
  recipes[3].container = "compressed-tensors";
  recipes[6].scheme = "fp8_e4m3_static";
  recipes[7].algorithm = "rtn";
  recipes[7].activation_scale = ActivationOptions::Range::kAmax;
  recipes[8].group_size = 64;
  recipes[8].algorithm = "gptq";
  recipes[8].container = "gptq";
  recipes[9].scheme = "int8w_g32";
  recipes[9].algorithm = "rtn";
  recipes[9].container = "compressed-tensors";
  recipes[10].algorithm = "gptq";
  recipes[11].zero_points = true;
  for (const QuantizeOptions& recipe : recipes) {
    SCOPED_TRACE(fmt::format("{} {} {}", recipe.format, recipe.scheme, recipe.algorithm));
    const std::vector<float> want = loaded_logits(recipe);
    const KvScale scale = kv_scale_;
    const Quantized quantized = run_quantize(recipe);
    EXPECT_EQ(written_logits(), want);
    if (quantized.plan.format.kv_dtype) {
      EXPECT_EQ(kv_scale_.k, scale.k);
      EXPECT_EQ(kv_scale_.v, scale.v);
      EXPECT_NE(scale.k, 1);
    }
    EXPECT_EQ(weights_bytes_, quantized.plan.memory.weights_bytes);
  }
}

TEST_F(QuantizeTest, FoldedScalesAreWrittenWithTheNorms) {
  std::vector<QuantizeOptions> recipes = {options("awq+kv-fp8"), options("int8"), options("int8")};
  recipes[0].container = "compressed-tensors";
  recipes[1].algorithm = "smoothquant+gptq";
  recipes[1].alpha = 0.5;
  recipes[1].damp = 0.02;
  recipes[2].scheme = "int8_static";
  recipes[2].activation_scale = ActivationOptions::Range::kAmax;
  const std::vector<float> base = logits(model_.path(), format("bf16"), {});
  for (const QuantizeOptions& recipe : recipes) {
    SCOPED_TRACE(fmt::format("{} {} {}", recipe.format, recipe.scheme, recipe.algorithm));
    const std::vector<float> want = loaded_logits(recipe);
    const KvScale scale = kv_scale_;
    const Format written = run_quantize(recipe).plan.format;
    const std::vector<float> got = written_logits();
    const Format read = *checkpoint_format(out_.path() / "model", spec_);
    EXPECT_EQ(read.scheme, written.scheme);
    EXPECT_EQ(read.kv_dtype, written.kv_dtype);
    if (read.kv_dtype) {
      EXPECT_EQ(kv_scale_.k, scale.k);
      EXPECT_EQ(kv_scale_.v, scale.v);
    }
    // What rounding a folded norm to bf16 does. With activations in int8 of step s a change d, |d| < s, is one of a
    // whole step in |d| / s of them: a square of |d| s to s^2 / 12 of the rounding itself, and s is near 12 d here.
    const double share = scheme(written.scheme).info().activation == DType::kI8 ? 1 : 0.02;
    EXPECT_LT(mean_kld(want, got), share * mean_kld(base, want));
  }
}

TEST_F(QuantizeTest, ADryRunSaysWhatIsThenWritten) {
  std::vector<QuantizeOptions> recipes = {options("fp8"), options("w4a16"), options("gptq"), options("awq"),
                                          options("fp8+kv-fp8")};
  recipes[1].group_size = -1;
  recipes[2].container = "gptq-v2";
  recipes[3].keep_worst = 2;
  for (QuantizeOptions recipe : recipes) {
    SCOPED_TRACE(recipe.format);
    recipe.dry_run = true;
    const QuantizePlan planned = run_quantize(recipe).plan;
    EXPECT_FALSE(fs::exists(recipe.output)) << "written";
    recipe.dry_run = false;
    run_quantize(recipe);
    int64_t bytes = 0;
    const Checkpoint written = Checkpoint::open(recipe.output);
    for (const auto& [name, view] : written.tensors()) bytes += std::ssize(view.bytes);
    EXPECT_EQ(planned.file_bytes(), bytes);
    written_logits();
    EXPECT_EQ(planned.memory.weights_bytes, weights_bytes_);
    EXPECT_EQ(std::ssize(planned.format.scheme_of_module), recipe.keep_worst);
    fs::remove_all(recipe.output);
  }
}

// Bytes of a written model that the ledger counts in another way: floats are as the checkpoint has them, norms and
// biases in memory in fp32; beside the codes lie what memory need not hold: zero points of symmetric schemes, a trivial
// g_idx, shapes, scales of whole tensors.
int64_t linear_bytes_on_disk(const fs::path& directory, const Format& format) {
  const SchemeTraits* traits = traits_of(scheme(format.scheme));
  int64_t bytes = 0;
  const Checkpoint written = Checkpoint::open(directory);
  for (const auto& [name, view] : written.tensors()) {
    const bool of_linear = name.find("_proj.") != name.npos && !name.ends_with(".bias");
    const bool is_order = name.ends_with("g_idx") && !(traits && traits->act_order);
    const bool is_zero = name.ends_with("qzeros") && !(traits && traits->zero_points);
    const bool is_small = name.ends_with("_shape") || name.ends_with("input_scale") || view.n_elements() == 1;
    if (of_linear && !is_order && !is_zero && !is_small) bytes += std::ssize(view.bytes);
  }
  return bytes;
}

// bytes(ledger) = bytes(in memory) = bytes(on disk) of every line of formats.def.
TEST_F(QuantizeTest, BytesOfEveryFormatAreTheLedgers) {
  for (const Format& row : all_formats()) {
    SCOPED_TRACE(row.name);
    if (!is_written(row)) continue;
    const bool in_gguf = row.container == "gguf";
    const fs::path path = out_.path() / (in_gguf ? "model.gguf" : "model");
    MemoryBreakdown ledger;
    Format format;
    if (in_gguf) {
      const GgufCheckpoint checkpoint(model_.path(), gguf_file_type_of(row));
      checkpoint.write(path, {});
      ledger = weight_ledger(spec_, with_gguf_mixture(row, spec_));
      EXPECT_EQ(checkpoint.tensor_bytes(), ledger.weights_bytes);
      int64_t bytes = 0;
      const Gguf file = Gguf::open(path);
      for (const auto& [name, tensor] : file.tensors()) bytes += std::ssize(tensor.bytes);
      EXPECT_EQ(bytes, ledger.weights_bytes);
      format = GgufModel::open(path).format();
    } else {
      QuantizeOptions recipe = options(row.name);
      recipe.calibration = {kText};
      ledger = run_quantize(recipe).plan.memory;
      EXPECT_EQ(linear_bytes_on_disk(path, row), ledger.linear_bytes);
      format = checkpoint_format(path, spec_).value_or(row);
    }
    EXPECT_EQ(format.name, row.name);
    EXPECT_EQ(load_weights(path, spec_, format, {}, *pool_).memory().weights_bytes, ledger.weights_bytes);
  }
}

std::string message_of(const QuantizeRecipe& recipe, const ModelSpec& spec) {
  try {
    recipe_format(recipe, spec);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

TEST_F(QuantizeTest, OptionsWithoutAUseAreRefusedByName) {
  const std::pair<QuantizeRecipe, const char*> cases[] = {
      {{.format = "awq", .alpha = 0.5}, "--alpha: format awq has no use for it; wanted int8 or int8-static"},
      {{.format = "int8", .alpha = 1.5}, "--alpha 1.5: wanted a number in [0, 1]"},
      {{.format = "awq", .act_order = true}, "--act-order: format awq has no use for it; wanted gptq"},
      {{.format = "w4a16", .search_range = true}, "--search-range: format w4a16 has no use for it; wanted gptq"},
      {{.format = "fp8", .damp = 0.1}, "--damp: format fp8 has no use for it; wanted gptq"},
      {{.format = "gptq", .damp = 0.0}, "--damp 0: wanted a number in (0, 1)"},
      {{.format = "gptq", .static_groups = true},
       "--static-groups: wanted --act-order with it: groups in order are static anyway"},
      {{.format = "fp8", .activation_scale = ActivationOptions::Range::kAmax},
       "--activation-scale: format fp8 has no use for it; wanted fp8-static or int8-static"},
      {{.format = "fp8-static", .percentile = 99.0}, "--percentile: wanted --activation-scale percentile with it"},
      {{.format = "fp8", .group_size = 128}, "--group-size 128: the scheme of fp8 has no groups"},
      {{.format = "awq", .group_size = -2}, "--group-size -2: wanted a positive number, or -1 for a whole row"},
      {{.format = "awq", .group_size = 48},
       "--group-size 48: there is no scheme for int4 weights per-group(48) with zero points, 16-bit activations"},
      {{.format = "awq", .container = "exl2"},
       "--container exl2: there is no such container; there are safetensors, autoawq, gptq, gptq-v2, "
       "compressed-tensors, vllm-fp8"},
      {{.format = "awq", .algorithm = "hqq"},
       "--algorithm hqq: there is no such algorithm; there are none, amax, rtn, calibration, awq, gptq, smoothquant, "
       "smoothquant+gptq"},
      {{.format = "awq", .algorithm = "stored"},
       "--algorithm stored: there is no such algorithm; there are none, amax, rtn, calibration, awq, gptq, "
       "smoothquant, smoothquant+gptq"},
      {{.format = "fp8", .algorithm = "gptq"},
       "format fp8: algorithm gptq makes no sense on scheme fp8_e4m3: its codes are no integers"},
      {{.format = "bf16", .algorithm = "awq"},
       "format bf16: algorithm awq makes no sense on scheme bf16: it has no codes with scales to choose"},
      {{.format = "bf16", .scheme = "int8"},
       "format bf16: algorithm none makes no sense on scheme int8: somebody has to choose its codes"},
      {{.format = "w4a16", .algorithm = "smoothquant"},
       "format w4a16: algorithm smoothquant makes no sense on scheme int4_g128: its activations stay in 16 bits"},
      {{.format = "int8", .algorithm = "calibration"},
       "format int8: algorithm calibration makes no sense on scheme int8: its activations have no static scale"},
      {{.format = "int8", .algorithm = "gptq", .alpha = 0.5},
       "--alpha: format int8 as gptq on int8 has no use for it; wanted int8 or int8-static"},
      {{.format = "int8-static", .scheme = "int8", .activation_scale = ActivationOptions::Range::kAmax},
       "--activation-scale: format int8-static as smoothquant on int8 has no use for it; wanted fp8-static or "
       "int8-static"},
      {{.format = "w8a16", .zero_points = true},
       "--zero-points: there is no scheme for int8 weights per-channel with zero points, 16-bit activations"},
      {{.format = "bf16", .zero_points = false}, "--no-zero-points: the scheme of bf16 has no codes"},
      {{.format = "gguf-q8_0", .scheme = "int8"},
       "gguf-q8_0: --scheme has no place: a GGUF file's types are those of its mixture"},
      {{.format = "gguf-q8_0", .algorithm = "rtn"},
       "gguf-q8_0: --algorithm has no place: a GGUF file's types are those of its mixture"},
      {{.format = "gguf-q8_0", .container = "gptq"},
       "gguf-q8_0: --container has no place: a GGUF file's types are those of its mixture"},
      {{.format = "gguf-q8_0+kv-fp8"},
       "gguf-q8_0+kv-fp8: a KV cache in 8 bits has no place: a GGUF file's types are those of its mixture"},
      {{.format = "awq+kv-fp8"},
       "format awq+kv-fp8: autoawq has no place for the scales of an fp8 KV cache; --container compressed-tensors has "
       "one"},
      {{.format = "fp8+kv-int8"},
       "format fp8+kv-int8: no checkpoint can ask for an int8 KV cache, whose scales are of each token: quantize to "
       "'fp8', "
       "then run that with --format own+kv-int8"},
  };
  for (const auto& [recipe, wanted] : cases) EXPECT_EQ(message_of(recipe, spec_), wanted);
  for (const char* schemes : {"int3", "ggml_q4_0"})
    EXPECT_TRUE(
        message_of({.format = "int8", .scheme = schemes}, spec_)
            .starts_with(fmt::format("--scheme {}: there is no such scheme outside GGUF; there are bf16,", schemes)));
  for (const Format& row : all_formats())
    EXPECT_EQ(
        message_of({.format = row.name}, spec_),
        is_written(row) ? "accepted" : "format " + row.name + ": its container is 'none', which cannot be written");
  for (const auto& [format, container] : {std::pair("fp8", "autoawq"), {"bf16", "autoawq"}, {"awq", "safetensors"}}) {
    QuantizeOptions refused = options(format);
    refused.container = container;
    refused.dry_run = true;
    EXPECT_THROW(run_quantize(refused), Error) << format << " in " << container;
  }
  QuantizeOptions order = options("gptq");
  order.act_order = true;
  order.container = "compressed-tensors";
  EXPECT_THROW(run_quantize(order), Error);
  order.static_groups = order.dry_run = true;
  run_quantize(order);
  EXPECT_TRUE(fs::is_empty(out_.path()));
}

// The options reach the algorithms: each changes what is written.
TEST_F(QuantizeTest, OptionsChangeTheResult) {
  const auto written = [&](const QuantizeOptions& recipe) {
    run_quantize(recipe);
    return written_logits();
  };
  const std::vector<float> gptq = written(options("gptq")), smoothed = written(options("int8")),
                           fixed = written(options("fp8-static"));
  std::vector<QuantizeOptions> recipes(4, options("gptq"));
  recipes[0].damp = 0.5;
  recipes[1].act_order = true;
  recipes[2].act_order = recipes[2].static_groups = true;
  recipes[3].search_range = true;
  for (const QuantizeOptions& recipe : recipes) EXPECT_NE(written(recipe), gptq);
  QuantizeOptions alpha = options("int8"), amax = options("fp8-static");
  alpha.alpha = 0.2;
  EXPECT_NE(written(alpha), smoothed);
  amax.activation_scale = ActivationOptions::Range::kAmax;
  EXPECT_NE(written(amax), fixed);
}

}  // namespace
}  // namespace trimeter
