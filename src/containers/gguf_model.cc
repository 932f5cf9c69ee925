#include "containers/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "containers/gguf_mixture.h"
#include "containers/stored_quantization.h"
#include "io/json.h"
#include "schemes/ggml/codec.h"
#include "schemes/ggml/ggml_scheme.h"
#include "schemes/stacked_scheme.h"

namespace trimeter {
namespace {

struct Renamed {
  std::string_view ours, theirs;
};
constexpr Renamed kOfLayer[] = {{"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "ffn_norm"},
                                {"self_attn.q_proj", "attn_q"},   {"self_attn.k_proj", "attn_k"},
                                {"self_attn.v_proj", "attn_v"},   {"self_attn.o_proj", "attn_output"},
                                {"mlp.gate_proj", "ffn_gate"},    {"mlp.up_proj", "ffn_up"},
                                {"mlp.down_proj", "ffn_down"}};
constexpr Renamed kOfModel[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};
constexpr std::string_view kLayerPrefix = "model.layers.";

std::string bias_name(const LinearPart& part) {
  return part.tensor.substr(0, part.tensor.size() - std::strlen("weight")) + "bias";
}

const Scheme& scheme_of_tensor(const GgufTensor& tensor) {
  const Scheme* scheme = scheme_of(static_cast<GgmlType>(tensor.type));
  if (scheme == nullptr)
    throw Error(Errc::kUnsupported, "{}: tensor '{}': the type {} is not supported", tensor.file->path().string(),
                printable(tensor.name), tensor.type_info().name);
  return *scheme;
}

std::optional<DType> float_type(const GgufTensor& tensor) {
  switch (static_cast<GgmlType>(tensor.type)) {
    case GgmlType::kF32:
      return DType::kF32;
    case GgmlType::kF16:
      return DType::kF16;
    case GgmlType::kBF16:
      return DType::kBF16;
    default:
      return {};
  }
}

void refuse_if_above_zero(const GgufMetadata& metadata, const std::string& key, std::string_view what) {
  if (metadata.find_integer(key).value_or(0) > 0)
    throw Error(Errc::kUnsupported, "{}: metadata '{}': {} not supported, got {}", metadata.path(), key, what,
                metadata.integer(key));
}

// A layer has tensors, so there are no more of them than of those.
int64_t count(const GgufMetadata& metadata, const std::string& key, int64_t most = INT32_MAX) {
  const int64_t n = metadata.integer(key);
  if (n < 1 || n > most)
    throw Error(Errc::kBadFile, "{}: metadata '{}': wanted 1 to {}, got {}", metadata.path(), key, most, n);
  return n;
}

// Of a token, if the key is there.
std::optional<int32_t> find_id(const GgufMetadata& metadata, const std::string& key) {
  const std::optional<int64_t> found = metadata.find_integer(key);
  if (!found) return {};
  if (*found < 0 || *found > INT32_MAX)
    throw Error(Errc::kBadFile, "{}: metadata '{}': wanted an id below 2^31, got {}", metadata.path(), key, *found);
  return static_cast<int32_t>(*found);
}

RopeScaling rope_scaling_of(const GgufMetadata& metadata, const std::string& prefix) {
  RopeScaling scaling;
  const std::string* type = metadata.find_text(prefix + "rope.scaling.type");
  std::optional<double> factor = metadata.find_number(prefix + "rope.scaling.factor");
  if (!factor) factor = metadata.find_number(prefix + "rope.scale_linear");  // early files
  if (const auto attention = metadata.find_number(prefix + "rope.scaling.attn_factor"); attention.value_or(1) != 1)
    throw Error(Errc::kUnsupported, "{}: metadata '{}rope.scaling.attn_factor': wanted 1, got {}", metadata.path(),
                prefix, *attention);
  if (type != nullptr && *type == "none") return scaling;
  if (type != nullptr && *type != "linear")
    throw Error(Errc::kUnsupported, "{}: metadata '{}rope.scaling.type': wanted none or linear, got '{}'",
                metadata.path(), prefix, printable(*type));
  if (type == nullptr && !factor) return scaling;
  scaling.type = "linear";  // as llama.cpp takes a factor without a type
  scaling.factor = factor ? *factor : metadata.number(prefix + "rope.scaling.factor");
  return scaling;
}

RopeScaling llama3_scaling(std::span<const float> factors, double theta, const std::string& where) {
  const RopeScaling scaling = llama31_rope_scaling(*std::max_element(factors.begin(), factors.end()));
  const std::vector<float> wanted = llama31_rope_factors(scaling.factor, theta, std::ssize(factors));
  for (size_t i = 0; i < factors.size(); ++i) {
    const float factor = wanted[i];
    if (!(std::fabs(factors[i] - factor) <= 1e-4f * factor))
      throw Error(Errc::kUnsupported,
                  "{}: tensor '{}': wanted Llama 3.1's rule (factor {} from wavelengths of 2048 to 8192), so {} at {}, "
                  "got {}",
                  where, kRopeFactors, scaling.factor, factor, i, factors[i]);
  }
  return scaling;
}

}  // namespace

RopeScaling llama31_rope_scaling(double factor) {
  return {.type = "llama3",
          .factor = factor,
          .low_freq_factor = 1,
          .high_freq_factor = 4,
          .original_max_position_embeddings = 8192};
}

std::vector<float> llama31_rope_factors(double factor, double theta, int64_t n) {
  constexpr double kContext = 8192;
  std::vector<float> factors;
  for (int64_t i = 0; i < n; ++i) {
    const double wavelength = 2 * M_PI * std::pow(theta, static_cast<double>(i) / static_cast<double>(n));
    if (wavelength < kContext / 4)
      factors.push_back(1);
    else if (wavelength > kContext)
      factors.push_back(static_cast<float>(factor));
    else
      factors.push_back(static_cast<float>(1 / (1 / factor + (1 - 1 / factor) * (kContext / wavelength - 1) / 3)));
  }
  return factors;
}

bool is_gguf(const std::filesystem::path& path) {
  std::error_code unreadable;
  return path.extension() == ".gguf" && !std::filesystem::is_directory(path, unreadable);
}

std::string gguf_tensor_name(const std::string& tensor) {
  const size_t dot = tensor.rfind('.');
  const std::string_view stem(tensor.data(), dot), suffix(tensor.data() + dot, tensor.size() - dot);
  for (const Renamed& name : kOfModel)
    if (stem == name.ours) return fmt::format("{}{}", name.theirs, suffix);
  TM_CHECK(stem.starts_with(kLayerPrefix), "no GGUF name of '{}'", tensor);
  const std::string_view rest = stem.substr(kLayerPrefix.size());
  const size_t end = rest.find('.');
  for (const Renamed& name : kOfLayer)
    if (rest.substr(end + 1) == name.ours) return fmt::format("blk.{}.{}{}", rest.substr(0, end), name.theirs, suffix);
  TM_CHECK(false, "no GGUF name of '{}'", tensor);
}

GgufModel GgufModel::open(const std::filesystem::path& path) {
  GgufModel model(Gguf::open(path));
  model.read_spec();
  model.check_no_stranger();
  model.read_format();
  return model;
}

void GgufModel::read_spec() {
  const GgufMetadata& metadata = file_.metadata();
  const std::string architecture = metadata.text("general.architecture"), prefix = architecture + ".";
  HfConfig config;
  config.path = metadata.path();
  if (architecture == "llama")
    config.architecture = "LlamaForCausalLM";
  else if (architecture == "qwen2")
    config.architecture = "Qwen2ForCausalLM";
  else
    throw Error(Errc::kUnsupported, "{}: metadata 'general.architecture': wanted llama or qwen2, got '{}'",
                metadata.path(), printable(architecture));
  refuse_if_above_zero(metadata, prefix + "expert_count", "mixtures of experts are");
  refuse_if_above_zero(metadata, prefix + "attention.sliding_window", "sliding windows are");
  config.n_layers = count(metadata, prefix + "block_count", std::ssize(file_.tensors()));
  config.hidden_size = count(metadata, prefix + "embedding_length");
  config.intermediate_size = count(metadata, prefix + "feed_forward_length");
  config.max_position_embeddings = count(metadata, prefix + "context_length");
  config.n_heads = count(metadata, prefix + "attention.head_count");
  config.n_kv_heads = metadata.find_integer(prefix + "attention.head_count_kv").value_or(config.n_heads);
  config.head_dim = metadata.find_integer(prefix + "attention.key_length").value_or(0);
  config.rms_norm_eps = metadata.number(prefix + "attention.layer_norm_rms_epsilon");
  config.rope_theta = metadata.find_number(prefix + "rope.freq_base").value_or(10000);
  config.rope_scaling = rope_scaling_of(metadata, prefix);
  config.tie_word_embeddings = !file_.has("output.weight");
  const GgufTensor& embedding = file_.at("token_embd.weight");
  config.vocab_size = embedding.shape.front();
  const std::optional<DType> dtype =
      file_.has("blk.0.attn_q.weight") ? float_type(file_.at("blk.0.attn_q.weight")) : std::nullopt;
  config.dtype = dtype.value_or(DType::kF16);
  spec_ = make_model_spec(config);
  spec_.qkv_bias = file_.has("blk.0.attn_q.bias");
  spec_.attention_out_bias = file_.has("blk.0.attn_output.bias");
  spec_.mlp_bias = file_.has("blk.0.ffn_down.bias");
  for (const char* key : {"rope.dimension_count", "attention.value_length"})
    if (const int64_t n = metadata.find_integer(prefix + key).value_or(spec_.head_dim); n != spec_.head_dim)
      throw Error(Errc::kUnsupported, "{}: metadata '{}{}': wanted the heads' {}, got {}", metadata.path(), prefix, key,
                  spec_.head_dim, n);
  if (file_.has(std::string(kRopeFactors)))
    spec_.rope_scaling =
        llama3_scaling(vector(std::string(kRopeFactors), spec_.head_dim / 2), spec_.rope_theta, metadata.path());
}

void GgufModel::check_no_stranger() const {
  std::set<std::string> expected = {std::string(kRopeFactors)};
  const auto add = [&](const LinearSpec& linear) {
    for (const LinearPart& part : linear.parts) {
      expected.insert(gguf_tensor_name(part.tensor));
      if (linear.has_bias) expected.insert(gguf_tensor_name(bias_name(part)));
    }
  };
  for (const LinearSpec& linear : spec_.linears()) add(linear);
  add(spec_.lm_head());
  add(embedding_as_linear(spec_));
  expected.insert("output_norm.weight");
  for (int64_t layer = 0; layer < spec_.n_layers; ++layer)
    for (const char* norm : {"attn_norm", "ffn_norm"}) expected.insert(fmt::format("blk.{}.{}.weight", layer, norm));
  for (const auto& [name, tensor] : file_.tensors())
    if (expected.count(name) == 0)
      throw Error(Errc::kUnsupported, "{}: tensor '{}' is not part of the {} that the metadata describes",
                  tensor.file->path().string(), printable(name), spec_.architecture);
}

// As the list names it; a type that it has no line for by llama-quantize's name.
std::string format_name(const GgufFileType* type) {
  if (type == nullptr) return "gguf";
  for (const Format& row : all_formats())
    if (row.container == "gguf" && gguf_file_type_of(row).number == type->number) return row.name;
  return fmt::format("gguf-{}", type->name);
}

void GgufModel::read_format() {
  const auto scheme_of_linear = [&](const LinearSpec& linear) -> const Scheme& {
    std::vector<StackedPart> parts;
    for (const LinearPart& part : linear.parts) {
      const int64_t shape[] = {part.n_rows, linear.shape.in};
      parts.push_back({&scheme_of_tensor(file_.at(gguf_tensor_name(part.tensor), shape)), part.n_rows});
    }
    try {
      return stacked_scheme(parts);
    } catch (const Error& error) {
      throw Error(error.code(), "{}: {}: {}", file_.metadata().path(), module_name(linear), error.what());
    }
  };
  format_.name = format_name(find_gguf_file_type(file_.metadata().find_integer("general.file_type").value_or(-1)));
  format_.algorithm = kStoredAlgorithm;
  format_.container = "gguf";
  format_.summary = "as the file has it";
  std::map<std::string, int64_t> weights_in;
  for (const LinearSpec& linear : spec_.linears()) {
    const std::string scheme(scheme_of_linear(linear).info().name);
    format_.scheme_of_module[module_name(linear)] = scheme;
    weights_in[scheme] += linear.shape.out * linear.shape.in;
  }
  format_.scheme = std::max_element(weights_in.begin(), weights_in.end(), [](const auto& a, const auto& b) {
                     return a.second < b.second;
                   })->first;
  std::erase_if(format_.scheme_of_module, [&](const auto& entry) { return entry.second == format_.scheme; });
  format_.scheme_of_module["lm_head"] = scheme_of_linear(spec_.lm_head()).info().name;
  if (!spec_.tie_word_embeddings)
    format_.scheme_of_module[std::string(kEmbeddingModule)] = scheme_of_linear(embedding_as_linear(spec_)).info().name;
}

HfGenerationConfig GgufModel::generation() const {
  HfGenerationConfig config;
  config.path = file_.metadata().path();
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"})
    if (const auto id = find_id(file_.metadata(), fmt::format("tokenizer.ggml.{}", key)))
      config.eos_token_ids.push_back(*id);
  return config;
}

GgufVocabulary GgufModel::vocabulary() const {
  const GgufMetadata& metadata = file_.metadata();
  const auto key = [](const char* name) { return fmt::format("tokenizer.ggml.{}", name); };
  const auto texts = [&](const char* name) {
    const std::vector<std::string>* found = metadata.find_texts(key(name));
    return found == nullptr ? std::vector<std::string>() : *found;
  };
  const auto id = [&](const char* name) { return find_id(metadata, key(name)); };
  GgufVocabulary vocabulary;
  vocabulary.model = metadata.text(key("model"));
  if (const std::string* pre = metadata.find_text(key("pre"))) vocabulary.pre = *pre;
  vocabulary.tokens = texts("tokens");
  if (std::ssize(vocabulary.tokens) > spec_.vocab_size)
    throw Error(Errc::kBadFile, "{}: metadata '{}': wanted at most {}, as token_embd.weight has rows, got {}",
                metadata.path(), key("tokens"), spec_.vocab_size, vocabulary.tokens.size());
  vocabulary.merges = texts("merges");
  vocabulary.scores = metadata.find_numbers(key("scores")).value_or(std::vector<float>());
  for (const int64_t type : metadata.find_integers(key("token_type")).value_or(std::vector<int64_t>()))
    vocabulary.token_type.push_back(static_cast<int32_t>(std::clamp<int64_t>(type, INT32_MIN, INT32_MAX)));
  vocabulary.bos_token_id = id("bos_token_id");
  vocabulary.eos_token_id = id("eos_token_id");
  vocabulary.add_bos_token = metadata.find_flag(key("add_bos_token"));
  vocabulary.add_eos_token = metadata.find_flag(key("add_eos_token"));
  vocabulary.add_space_prefix = metadata.find_flag(key("add_space_prefix"));
  if (const std::string* chat = metadata.find_text("tokenizer.chat_template")) vocabulary.chat_template = *chat;
  return vocabulary;
}

bool GgufModel::rows_in_pairs(const std::string& tensor) const {
  return spec_.architecture == "LlamaForCausalLM" &&
         (tensor.find(".q_proj.") != std::string::npos || tensor.find(".k_proj.") != std::string::npos);
}

CanonicalWeight GgufModel::linear(const LinearSpec& linear) const {
  std::vector<CanonicalWeight> parts;
  std::vector<const Scheme*> schemes;
  int64_t rows_left = linear.shape.out;
  for (const LinearPart& part : linear.parts) {
    const int64_t shape[] = {part.n_rows, linear.shape.in};
    const GgufTensor& tensor = file_.at(gguf_tensor_name(part.tensor), shape);
    const int64_t stride = row_bytes(static_cast<GgmlType>(tensor.type), linear.shape.in);
    const bool pairs = rows_in_pairs(part.tensor);
    const Scheme* scheme = &scheme_of_tensor(tensor);
    if (schemes.empty() || schemes.back() != scheme) {
      schemes.push_back(scheme);
      parts.emplace_back().shape.in = linear.shape.in;
    }
    CanonicalWeight& weight = parts.back();
    weight.shape.out += part.n_rows;
    const std::optional<DType> dtype = float_type(tensor);
    if (!dtype && weight.codes.empty()) weight.codes.reserve(static_cast<size_t>(rows_left * stride));
    rows_left -= part.n_rows;
    if (dtype && !pairs) {
      weight.dense.push_back({tensor.bytes.data(), *dtype, part.n_rows});
      continue;
    }
    for (int64_t row = 0; row < part.n_rows; ++row) {
      const std::byte* data = tensor.bytes.data() + (pairs ? paired_row(row, spec_.head_dim) : row) * stride;
      if (dtype)
        weight.dense.push_back({data, *dtype, 1});
      else
        weight.codes.insert(weight.codes.end(), reinterpret_cast<const uint8_t*>(data),
                            reinterpret_cast<const uint8_t*>(data) + stride);
    }
  }
  if (parts.size() == 1) return std::move(parts[0]);
  return stack_weights(std::move(parts));
}

std::vector<TensorView> GgufModel::floats(const LinearSpec& linear) const {
  std::vector<TensorView> views;
  for (const LinearPart& part : linear.parts) {
    const GgufTensor& tensor = file_.at(gguf_tensor_name(part.tensor));
    if (const std::optional<DType> dtype = float_type(tensor))
      views.push_back({tensor.name, *dtype, tensor.shape, tensor.bytes, tensor.file});
  }
  return views;
}

std::vector<float> GgufModel::vector(const std::string& tensor, int64_t n) const {
  const GgufTensor& found = file_.at(tensor, {&n, 1});
  if (!float_type(found))
    throw Error(Errc::kUnsupported, "{}: tensor '{}': wanted f32, f16 or bf16, got {}", found.file->path().string(),
                printable(tensor), found.type_info().name);
  std::vector<float> values(static_cast<size_t>(n));
  dequantize_ggml(static_cast<GgmlType>(found.type), reinterpret_cast<const uint8_t*>(found.bytes.data()), n,
                  values.data());
  for (const float value : values)
    if (!std::isfinite(value))
      throw Error(Errc::kBadFile, "{}: tensor '{}': wanted finite values, got {}", found.file->path().string(),
                  printable(tensor), value);
  return values;
}

std::vector<float> GgufModel::bias(const LinearSpec& linear) const {
  std::vector<float> bias;
  if (!linear.has_bias) return bias;
  for (const LinearPart& part : linear.parts) {
    const std::vector<float> values = vector(gguf_tensor_name(bias_name(part)), part.n_rows);
    for (int64_t row = 0; row < part.n_rows; ++row)
      bias.push_back(values[rows_in_pairs(part.tensor) ? paired_row(row, spec_.head_dim) : row]);
  }
  return bias;
}

std::vector<float> GgufModel::norm(const std::string& tensor) const {
  return vector(gguf_tensor_name(tensor), spec_.hidden_size);
}

void GgufModel::release(const LinearSpec& linear) const {
  for (const LinearPart& part : linear.parts) {
    const GgufTensor& tensor = file_.at(gguf_tensor_name(part.tensor));
    tensor.file->release(tensor.bytes.data(), static_cast<int64_t>(tensor.bytes.size()));
  }
}

}  // namespace trimeter
