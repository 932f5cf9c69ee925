#include "containers/gguf_writer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "containers/gguf_model.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "schemes/dense.h"
#include "schemes/ggml/codec.h"
#include "text/tokenizer.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kMaxTokenizerBytes = 100'000'000;

// How tokenizer.json cuts text into words, and llama.cpp's name of it.
struct PreTokenizerName {
  std::string_view pattern, name;
};
constexpr PreTokenizerName kPreTokenizers[] = {
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "qwen2"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "llama-bpe"}};

std::string pre_tokenizer_name(const json& tokenizer, const std::string& path) {
  const json steps = tokenizer.value("pre_tokenizer", json::object());
  for (const json& step : steps.value("pretokenizers", json::array({steps}))) {
    const std::string type = step.is_object() ? step.value("type", "") : "";
    if (type == "ByteLevel" && step.value("use_regex", true)) return "gpt-2";
    if (type != "Split") continue;
    const std::string pattern = step.value("pattern", json::object()).value("Regex", "");
    for (const PreTokenizerName& known : kPreTokenizers)
      if (pattern == known.pattern) return std::string(known.name);
  }
  throw Error(Errc::kUnsupported, "{}: pre_tokenizer: llama.cpp has no name that we know for it, got {}", path,
              printable_json(steps));
}

void put_vocabulary(const fs::path& directory, const ModelSpec& spec, const HfGenerationConfig& generation,
                    GgufMetadata& metadata) {
  const std::string path = (directory / "tokenizer.json").string();
  const json file = parse_json(read_file(path, kMaxTokenizerBytes), path);
  const Tokenizer tokenizer = Tokenizer::open(directory);  // says what is wrong with the file
  const json& model = file.at("model");
  if (model.value("type", "BPE") != "BPE" || model.value("byte_fallback", false))
    throw Error(Errc::kUnsupported, "{}: model: byte-level BPE alone can be written to a GGUF file, got {}", path,
                printable_json(model.value("type", json())));
  std::vector<std::string> tokens(static_cast<size_t>(spec.vocab_size)), merges;
  std::vector<int32_t> types(tokens.size(), static_cast<int32_t>(GgufTokenType::kUnused));
  for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = fmt::format("[PAD{}]", i);
  const auto put = [&](const std::string& token, int64_t id, GgufTokenType type) {
    if (id < 0 || id >= spec.vocab_size)
      throw Error(Errc::kBadFile, "{}: token '{}': wanted an id below vocab_size = {}, got {}", path, printable(token),
                  spec.vocab_size, id);
    tokens[static_cast<size_t>(id)] = token;
    types[static_cast<size_t>(id)] = static_cast<int32_t>(type);
  };
  for (const auto& [token, id] : model.at("vocab").items()) put(token, id.get<int64_t>(), GgufTokenType::kNormal);
  for (const json& added : file.value("added_tokens", json::array()))
    put(added.at("content"), added.at("id").get<int64_t>(),
        added.value("special", false) ? GgufTokenType::kControl : GgufTokenType::kUserDefined);
  for (const json& merge : model.at("merges"))
    merges.push_back(merge.is_string() ? merge.get<std::string>()
                                       : merge.at(0).get<std::string>() + " " + merge.at(1).get<std::string>());

  const auto id_of = [&](const std::string& token) { return token.empty() ? std::nullopt : tokenizer.token_id(token); };
  metadata.set("tokenizer.ggml.model", std::string("gpt2"));
  metadata.set("tokenizer.ggml.pre", pre_tokenizer_name(file, path));
  metadata.set("tokenizer.ggml.tokens", GgufArray{std::move(tokens)});
  metadata.set("tokenizer.ggml.token_type", GgufArray{std::move(types)});
  metadata.set("tokenizer.ggml.merges", GgufArray{std::move(merges)});
  const bool adds_bos = [&] {
    const auto bos = id_of(tokenizer.bos_token());
    const std::vector<int32_t> ids = tokenizer.encode("a", true);
    return bos && !ids.empty() && ids.front() == *bos;
  }();
  metadata.set("tokenizer.ggml.add_bos_token", adds_bos);
  std::optional<int32_t> bos = id_of(tokenizer.bos_token()), eos = id_of(tokenizer.eos_token());
  if (!bos) bos = generation.bos_token_id;
  if (!eos && !generation.eos_token_ids.empty()) eos = generation.eos_token_ids.front();
  if (bos) metadata.set("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(*bos));
  if (eos) metadata.set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*eos));
  if (!tokenizer.chat_template().empty()) metadata.set("tokenizer.chat_template", tokenizer.chat_template());
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
    : directory_(directory), type_(type), spec_(read_model_spec(directory)), checkpoint_(Checkpoint::open(directory)) {
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
  put_vocabulary(directory_, spec_, read_hf_generation_config(directory_), metadata);
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
