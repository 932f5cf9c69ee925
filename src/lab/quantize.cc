#include "lab/quantize.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "containers/container.h"
#include "containers/gguf_model.h"
#include "containers/kv_scales.h"
#include "containers/stored_quantization.h"
#include "io/file.h"
#include "io/safetensors_writer.h"
#include "lab/output_directory.h"
#include "model/float_tensor.h"
#include "schemes/dense.h"
#include "spec/ledger.h"
#include "spec/mixed_format.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxConfigBytes = int64_t{1} << 24, kMaxCopiedBytes = int64_t{1} << 30;
constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kFinalNorm = "model.norm.weight";
constexpr const char* kCopied[] = {"generation_config.json", "tokenizer.json",      "tokenizer_config.json",
                                   "tokenizer.model",        "vocab.json",          "merges.txt",
                                   "added_tokens.json",      "chat_template.jinja", "chat_template.json",
                                   "special_tokens_map.json"};

std::string norm_name(int layer, const char* which) { return fmt::format("model.layers.{}.{}.weight", layer, which); }

// What a linear's tensors are in a format: those of the container, or its parts in floats; and its biases.
void add_linear(const ModelSpec& spec, const Format& format, const LinearSpec& linear, DType dense,
                std::vector<TensorInfo>& tensors) {
  const std::vector<StoredMatrix> matrices = stored_matrices(spec, format, linear);
  for (const StoredMatrix& matrix : matrices)
    for (TensorInfo& tensor : find_container(format.container)->tensors(matrix)) tensors.push_back(std::move(tensor));
  for (const LinearPart& part : linear.parts) {
    if (matrices.empty()) tensors.push_back({part.tensor, dense, {part.n_rows, linear.shape.in}});
    if (linear.has_bias) tensors.push_back({module_of(part) + ".bias", dense, {part.n_rows}});
  }
}

std::vector<TensorInfo> planned_tensors(const ModelSpec& spec, const Format& format) {
  const DType dense = dense_dtype(spec, format);
  std::vector<TensorInfo> tensors = {{kEmbedding, dense, {spec.vocab_size, spec.hidden_size}}};
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
      tensors.push_back({norm_name(layer, norm), dense, {spec.hidden_size}});
    for (const LinearSpec& linear : spec.linears_of_layer(layer)) add_linear(spec, format, linear, dense, tensors);
    if (format.kv_dtype)
      for (TensorInfo& scale : kv_scale_tensors(layer)) tensors.push_back(std::move(scale));
  }
  tensors.push_back({kFinalNorm, dense, {spec.hidden_size}});
  if (!spec.tie_word_embeddings) add_linear(spec, format, spec.lm_head(), dense, tensors);
  return tensors;
}

void check_container(const ModelSpec& spec, const Format& format) {
  const Container* container = find_container(format.container);
  for (const LinearSpec& linear : spec.linears())
    for (const StoredMatrix& matrix : stored_matrices(spec, format, linear)) {
      const std::string reason = container ? container->refuses_to_write(matrix) : "it holds floats alone";
      if (!reason.empty())
        throw Error(Errc::kUnsupported, "format {} in {}: {}: {}", format.name, format.container, matrix.module,
                    reason);
    }
  if (container != nullptr) container->config(spec, format);  // throws for a mix that it has no words for
}

class Writer {
 public:
  Writer(const Checkpoint& checkpoint, const QuantizePlan& plan, const fs::path& directory, ThreadPool& pool)
      : checkpoint_(checkpoint),
        spec_(plan.subject.spec),
        format_(plan.format),
        dense_(dense_dtype(spec_, format_)),
        pool_(pool),
        files_(directory, plan.tensors) {}

  void write_layer(int layer, const CanonicalLayer& weights) {
    write_floats(norm_name(layer, "input_layernorm"), weights.input_norm);
    write_floats(norm_name(layer, "post_attention_layernorm"), weights.post_attention_norm);
    for (const CanonicalLinear* linear : {&weights.qkv, &weights.attention_out, &weights.gate_up, &weights.down})
      write_linear(*linear);
    if (format_.kv_dtype) write_kv_scale(weights.kv_scale, layer, emit());
  }
  // What no algorithm changes.
  void write_rest() {
    copy(kEmbedding);
    copy(kFinalNorm);
    if (!spec_.tie_word_embeddings) copy(spec_.lm_head().parts[0].tensor);
    files_.finish();
  }

 private:
  EmitTensor emit() {
    return [this](const TensorInfo& tensor, std::span<const std::byte> bytes) { files_.write(tensor.name, bytes); };
  }

  void write_floats(const std::string& tensor, std::span<const float> values) {
    std::vector<std::byte> bytes(values.size() * size_of(dense_));
    floats_to(values.data(), std::ssize(values), dense_, bytes.data());
    files_.write(tensor, bytes);
  }

  void copy(const std::string& tensor) {
    const TensorView& view = checkpoint_.at(tensor);
    if (view.dtype == dense_) {
      check_floats(view, pool_);
      files_.write(tensor, view.bytes);
    } else {
      write_floats(tensor, read_floats(view, pool_));
    }
    release(view);
  }

  void write_linear(const CanonicalLinear& linear) {
    if (const std::vector<StoredMatrix> matrices = stored_matrices(spec_, format_, linear.spec); !matrices.empty())
      write_stored(*find_container(format_.container), linear.weight, matrices, emit());
    else
      write_parts(linear);
    int64_t row = 0;
    for (const LinearPart& part : linear.spec.parts) {
      if (linear.spec.has_bias)
        write_floats(module_of(part) + ".bias", std::span(linear.bias).subspan(row, part.n_rows));
      row += part.n_rows;
    }
  }

  void write_parts(const CanonicalLinear& linear) {
    const MatShape shape = linear.spec.shape;
    std::vector<float> values;
    int64_t row = 0;
    for (const LinearPart& part : linear.spec.parts) {
      values.resize(part.n_rows * shape.in);
      for (int64_t r = 0; r < part.n_rows; ++r, ++row) read_row(linear.weight.dense, shape, row, &values[r * shape.in]);
      write_floats(part.tensor, values);
    }
  }

  const Checkpoint& checkpoint_;
  const ModelSpec& spec_;
  const Format& format_;
  const DType dense_;
  ThreadPool& pool_;
  SafetensorsWriter files_;
};

void write_config(const fs::path& model, const QuantizePlan& plan, const fs::path& output) {
  auto config = nlohmann::ordered_json::parse(read_file(model / "config.json", kMaxConfigBytes));
  const ModelSpec& spec = plan.subject.spec;
  config[config.contains("dtype") ? "dtype" : "torch_dtype"] = torch_name(dense_dtype(spec, plan.format));
  config.erase("quantization_config");
  if (const Container* container = find_container(plan.format.container))
    config["quantization_config"] = nlohmann::ordered_json::parse(container->config(spec, plan.format));
  write_file_atomic(output / "config.json", config.dump(2) + "\n");
}

void copy_companions(const fs::path& model, const fs::path& output) {
  for (const char* name : kCopied)
    if (std::error_code ignored; fs::exists(model / name, ignored))
      write_file_atomic(output / name, read_file(model / name, kMaxCopiedBytes));
}

LoadOptions load_options(const QuantizeOptions& options, const Subject& subject) {
  LoadOptions load = algorithm_options(options);
  load.on_progress = options.on_progress;
  for (const std::string& text : options.calibration) {
    std::vector<int32_t> tokens = subject.encode_text(text);
    tokens.resize(std::min<size_t>(tokens.size(), subject.spec.max_position_embeddings));
    load.calibration.push_back(std::move(tokens));
  }
  return load;
}

// Of linears that the options keep in 16 bits. A container has no words for a model without any that is quantized.
void check_some_left(const ModelSpec& spec, const Format& format, int keep_worst) {
  if (format.scheme_of_module.empty() && keep_worst == 0) return;
  const std::vector<LinearSpec> linears = spec.linears();
  const auto n_left = std::count_if(linears.begin(), linears.end(), [&](const LinearSpec& linear) {
    return traits_of(linear_scheme(spec, format, linear)) != nullptr;
  });
  if (n_left <= keep_worst)
    throw Error(Errc::kBadArgument,
                "format {}: wanted a linear that is not kept in 16 bits, got {} of {} without --keep-worst {}: "
                "--format {} keeps them all",
                format.name, n_left, linears.size(), keep_worst, dense_scheme(dense_dtype(spec, format)).info().name);
}

void set_format(QuantizePlan& plan, Format format) {
  const ModelSpec& spec = plan.subject.spec;
  check_format_fits(spec, format);
  check_container(spec, format);
  plan.memory = weight_ledger(spec, format);
  plan.tensors = planned_tensors(spec, format);
  plan.format = std::move(format);
}

}  // namespace

int64_t QuantizePlan::file_bytes() const {
  int64_t bytes = 0;
  for (const TensorInfo& tensor : tensors) bytes += tensor.bytes();
  return bytes;
}

void check_not_quantized(const fs::path& model, const ModelSpec& spec) {
  if (const std::optional<Format> stored = checkpoint_format(model, spec))
    throw Error(Errc::kBadArgument, "{}: the checkpoint is quantized already ('{}'): wanted the model in floats",
                model.string(), stored->name);
}

QuantizePlan plan_quantize(const QuantizeOptions& options) {
  if (is_gguf(options.model))
    throw Error(Errc::kBadArgument, "{}: wanted the directory of a checkpoint in floats, got a GGUF file",
                options.model.string());
  QuantizePlan plan{read_subject(options.model), {}, {}, {}};
  const ModelSpec& spec = plan.subject.spec;
  check_not_quantized(options.model, spec);
  Format format = recipe_format(options, spec);
  check_some_left(spec, format, options.keep_worst);
  set_format(plan, std::move(format));
  return plan;
}

Quantized run_quantize(const QuantizeOptions& options) {
  Quantized result{plan_quantize(options), {}};
  QuantizePlan& plan = result.plan;
  if (options.dry_run && options.keep_worst == 0) return result;
  std::optional<OutputDirectory> output;
  if (!options.dry_run) output.emplace(options.output, options.force);
  const std::shared_ptr<ThreadPool> pool = options.threads ? options.threads : std::make_shared<ThreadPool>();
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  const LoadOptions load = load_options(options, plan.subject);
  if (options.keep_worst > 0) {
    result.report =
        quantize_layers(checkpoint, plan.subject.spec, plan.format, load, *pool, [](int, const CanonicalLayer&) {});
    if (result.report.linears.empty())
      throw Error(Errc::kBadArgument, "--keep-worst: wanted calibration texts to find the worst with, got none");
    set_format(plan, keep_16bit(plan.subject.spec, plan.format, result.report.worst(options.keep_worst)));
  }
  if (options.dry_run) return result;
  Writer writer(checkpoint, plan, output->path(), *pool);
  result.report =
      quantize_layers(checkpoint, plan.subject.spec, plan.format, load, *pool,
                      [&](int layer, const CanonicalLayer& weights) { writer.write_layer(layer, weights); });
  writer.write_rest();
  write_config(options.model, plan, output->path());
  copy_companions(options.model, output->path());
  output->commit();
  return result;
}

}  // namespace trimeter
