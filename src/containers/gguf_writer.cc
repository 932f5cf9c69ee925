#include "containers/gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "containers/gguf_model.h"
#include "io/safetensors.h"
#include "schemes/dense.h"
#include "schemes/ggml/codec.h"
#include "text/gguf_vocabulary_of.h"
#include "text/tokenizer.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

void put_vocabulary(GgufVocabulary v, GgufMetadata& metadata) {
  const auto key = [](const char* name) { return fmt::format("tokenizer.ggml.{}", name); };
  const auto put_id = [&](const char* name, std::optional<int32_t> id) {
    if (id) metadata.set(key(name), static_cast<uint32_t>(*id));
  };
  const auto put_flag = [&](const char* name, std::optional<bool> flag) {
    if (flag) metadata.set(key(name), *flag);
  };
  metadata.set(key("model"), v.model);
  metadata.set(key("pre"), v.pre.empty() ? std::string("default") : v.pre);
  metadata.set(key("tokens"), GgufArray{std::move(v.tokens)});
  metadata.set(key("token_type"), GgufArray{std::move(v.token_type)});
  if (v.model == "gpt2")
    metadata.set(key("merges"), GgufArray{std::move(v.merges)});
  else
    metadata.set(key("scores"), GgufArray{std::move(v.scores)});
  put_id("bos_token_id", v.bos_token_id);
  put_id("eos_token_id", v.eos_token_id);
  put_id("unknown_token_id", v.unknown_token_id);
  put_id("padding_token_id", v.padding_token_id);
  put_flag("add_bos_token", v.add_bos_token);
  put_flag("add_eos_token", v.add_eos_token);
  put_flag("add_space_prefix", v.add_space_prefix);
  if (!v.chat_template.empty()) metadata.set("tokenizer.chat_template", v.chat_template);
}

GgufVocabulary vocabulary_of(const fs::path& directory, const ModelSpec& spec, std::vector<std::string>& differences) {
  const std::string path = (directory / "tokenizer.json").string();
  WrittenGgufVocabulary written = gguf_vocabulary_of(read_tokenizer_directory(directory), spec.vocab_size, path);
  GgufVocabulary& v = written.vocabulary;
  Tokenizer::from_gguf(v, path);
  const HfGenerationConfig generation = read_hf_generation_config(directory);
  if (!v.bos_token_id) v.bos_token_id = generation.bos_token_id;
  if (!v.eos_token_id && !generation.eos_token_ids.empty()) v.eos_token_id = generation.eos_token_ids.front();
  if (v.model == "llama" && (!v.bos_token_id || !v.eos_token_id))
    throw Error(Errc::kBadFile,
                "{}: wanted bos_token and eos_token: a GGUF file without them has ids 1 and 2 there, got {}",
                (directory / "tokenizer_config.json").string(), v.bos_token_id ? "no eos_token" : "no bos_token");
  differences = std::move(written.differences);
  return std::move(v);
}

void put_spec(const ModelSpec& spec, const std::string& path, GgufMetadata& metadata) {
  const std::string architecture = spec.architecture == "LlamaForCausalLM"   ? "llama"
                                   : spec.architecture == "Qwen2ForCausalLM" ? "qwen2"
                                                                             : "";
  if (architecture.empty())
    throw Error(Errc::kUnsupported, "{}: a GGUF file of {} cannot be written", path, spec.architecture);
  if (const RopeScaling& scaling = spec.rope_scaling; scaling.type == "llama3") {
    const RopeScaling known = llama31_rope_scaling(scaling.factor);
    if (scaling.low_freq_factor != known.low_freq_factor || scaling.high_freq_factor != known.high_freq_factor ||
        scaling.original_max_position_embeddings != known.original_max_position_embeddings)
      throw Error(Errc::kUnsupported,
                  "{}: rope_scaling: a GGUF file has Llama 3.1's low_freq_factor 1, high_freq_factor 4 and "
                  "original_max_position_embeddings 8192, got {}, {} and {}",
                  path, scaling.low_freq_factor, scaling.high_freq_factor, scaling.original_max_position_embeddings);
  } else if (scaling.type != "default" && scaling.type != "linear") {
    throw Error(Errc::kUnsupported, "{}: rope_scaling: a GGUF file with {} cannot be written", path, scaling.type);
  }
  const auto put = [&](const char* key, int64_t value) {
    metadata.set(fmt::format("{}.{}", architecture, key), static_cast<uint32_t>(value));
  };
  metadata.set("general.architecture", architecture);
  put("block_count", spec.n_layers);
  put("context_length", spec.max_position_embeddings);
  put("embedding_length", spec.hidden_size);
  put("feed_forward_length", spec.intermediate_size);
  put("attention.head_count", spec.n_heads);
  put("attention.head_count_kv", spec.n_kv_heads);
  put("attention.key_length", spec.head_dim);
  put("attention.value_length", spec.head_dim);
  put("rope.dimension_count", spec.head_dim);
  put("vocab_size", spec.vocab_size);
  metadata.set(architecture + ".attention.layer_norm_rms_epsilon", static_cast<float>(spec.rms_norm_eps));
  metadata.set(architecture + ".rope.freq_base", static_cast<float>(spec.rope_theta));
  if (spec.rope_scaling.type == "linear") {
    metadata.set(architecture + ".rope.scaling.type", std::string("linear"));
    metadata.set(architecture + ".rope.scaling.factor", static_cast<float>(spec.rope_scaling.factor));
  }
}

// Rows in float, where llama's q and k are to lie in pairs; then quantized.
std::vector<std::byte> encode(const TensorView& view, GgmlType type, int64_t head_dim_in_pairs) {
  const int64_t in = view.shape.back(), out = view.n_elements() / in, stride = row_bytes(type, in);
  const DenseRows rows{view.bytes.data(), view.dtype, out};
  const MatShape shape{out, in};
  check_parts({&rows, 1}, shape);
  std::vector<std::byte> bytes(static_cast<size_t>(out * stride));
  std::vector<float> values(static_cast<size_t>(in));
  for (int64_t row = 0; row < out; ++row) {
    read_finite_row({&rows, 1}, shape, row, values.data());
    const int64_t to = head_dim_in_pairs > 0 ? paired_row(row, head_dim_in_pairs) : row;
    quantize_ggml(type, values.data(), in, reinterpret_cast<uint8_t*>(bytes.data() + to * stride));
  }
  return bytes;
}

}  // namespace

GgufCheckpoint::GgufCheckpoint(const fs::path& directory, const GgufFileType& type)
    : directory_(directory),
      type_(type),
      spec_(read_model_spec(directory)),
      checkpoint_(Checkpoint::open(directory)),
      vocabulary_(vocabulary_of(directory, spec_, tokenizer_differences_)) {
  const auto add_linear = [&](const LinearSpec& linear) {
    for (const LinearPart& part : linear.parts) {
      add(part.tensor, {part.n_rows, linear.shape.in});
      if (linear.has_bias)
        add(part.tensor.substr(0, part.tensor.size() - std::strlen("weight")) + "bias", {part.n_rows});
    }
  };
  add("model.embed_tokens.weight", {spec_.vocab_size, spec_.hidden_size});
  for (int layer = 0; layer < static_cast<int>(spec_.n_layers); ++layer) {
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"})
      add(fmt::format("model.layers.{}.{}.weight", layer, norm), {spec_.hidden_size});
    for (const LinearSpec& linear : spec_.linears_of_layer(layer)) add_linear(linear);
  }
  add("model.norm.weight", {spec_.hidden_size});
  if (!spec_.tie_word_embeddings) add_linear(spec_.lm_head());
}

void GgufCheckpoint::add(const std::string& name, std::vector<int64_t> shape) {
  checkpoint_.at(name, shape);
  const GgmlType type = gguf_tensor_type(spec_, type_, name, shape.back());
  tensors_.push_back({name, type, std::move(shape)});
}

int64_t GgufCheckpoint::tensor_bytes() const {
  int64_t bytes = spec_.rope_scaling.type == "llama3" ? spec_.head_dim / 2 * size_of(DType::kF32) : 0;
  for (const Tensor& tensor : tensors_)
    bytes +=
        checkpoint_.at(tensor.name).n_elements() / tensor.shape.back() * row_bytes(tensor.type, tensor.shape.back());
  return bytes;
}

std::vector<std::byte> GgufCheckpoint::encode_tensor(const Tensor& tensor) const {
  const TensorView& view = checkpoint_.at(tensor.name);
  const bool pairs = spec_.architecture == "LlamaForCausalLM" && (tensor.name.find(".q_proj.") != std::string::npos ||
                                                                  tensor.name.find(".k_proj.") != std::string::npos);
  TensorView rows = view;
  if (pairs && rows.shape.size() == 1) rows.shape.push_back(1);  // a bias: one value per row
  std::vector<std::byte> bytes = encode(rows, tensor.type, pairs ? spec_.head_dim : 0);
  view.file->release(view.bytes.data(), static_cast<int64_t>(view.bytes.size()));
  return bytes;
}

void GgufCheckpoint::write(const fs::path& path, const std::function<void(int done, int total)>& on_progress) const {
  GgufMetadata metadata(path.string());
  put_spec(spec_, (directory_ / "config.json").string(), metadata);
  put_vocabulary(vocabulary_, metadata);
  metadata.set("general.name", fs::canonical(directory_).filename().string());
  metadata.set("general.file_type", type_.number);
  metadata.set("general.quantization_version", uint32_t{2});
  std::vector<GgufTensorSource> sources;
  int done = 0;
  for (const Tensor& tensor : tensors_)
    sources.push_back({gguf_tensor_name(tensor.name), tensor.type, tensor.shape, [&] {
                         if (on_progress) on_progress(++done, static_cast<int>(tensors_.size()));
                         return encode_tensor(tensor);
                       }});
  if (spec_.rope_scaling.type == "llama3") {
    const int64_t n = spec_.head_dim / 2;
    sources.push_back({std::string(kRopeFactors), GgmlType::kF32, {n}, [&, n] {
                         const std::vector<float> factors =
                             llama31_rope_factors(spec_.rope_scaling.factor, spec_.rope_theta, n);
                         const auto bytes = std::as_bytes(std::span(factors));
                         return std::vector<std::byte>(bytes.begin(), bytes.end());
                       }});
  }
  write_gguf(path, metadata, sources);
}

}  // namespace trimeter
