#include "io/hf_config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file.h"
#include "io/json.h"
#include "io/json_fields.h"

namespace trimeter {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int64_t kMaxConfigBytes = int64_t{1} << 24;
// Far above any model there is, and low enough that no product of sizes that the ledger forms overflows 63 bits.
constexpr int64_t kMaxWidth = int64_t{1} << 20;  // hidden, intermediate
constexpr int64_t kMaxCount = int64_t{1} << 12;  // layers, heads, head_dim
constexpr int64_t kMaxVocab = int64_t{1} << 24;
constexpr int64_t kMaxInt32 = (int64_t{1} << 31) - 1;  // positions, token ids

constexpr NumberRange kPositive{0, 1e30, true};

std::string read_architecture(const Fields& config) {
  const json* list = config.find("architectures");
  if (list == nullptr) config.missing("architectures", "a list with one name");
  if (!list->is_array() || list->size() != 1 || !list->front().is_string())
    config.fail("architectures", "a list with one name", *list);
  return list->front().get<std::string>();
}

std::optional<DType> read_dtype(const Fields& config) {
  if (const auto now = config.string("dtype"), before = config.string("torch_dtype"); now && before && now != before)
    throw Error(Errc::kBadFile, "{}: field 'dtype': wanted '{}' as torch_dtype has it, got '{}'", config.where(),
                printable(*before), printable(*now));
  const char* key = config.find("dtype") != nullptr ? "dtype" : "torch_dtype";
  const std::optional<std::string> name = config.string(key);
  if (!name) return std::nullopt;
  const std::optional<DType> dtype = dtype_from_torch_name(*name);
  if (dtype != DType::kBF16 && dtype != DType::kF16 && dtype != DType::kF32)
    throw Error(Errc::kUnsupported, "{}: field '{}': wanted bfloat16, float16 or float32, got '{}'", config.where(),
                key, printable(*name));
  return dtype;
}

RopeScaling read_rope_scaling(const Fields& rope) {
  RopeScaling scaling;
  // "type" is the name before transformers 4.43; both are often there.
  scaling.type = rope.string("rope_type").value_or(rope.string("type").value_or(scaling.type));
  const bool has_factor =
      scaling.type == "linear" || scaling.type == "dynamic" || scaling.type == "llama3" || scaling.type == "yarn";
  if (has_factor) scaling.factor = rope.required_number("factor", kPositive);
  scaling.original_max_position_embeddings = rope.integer("original_max_position_embeddings", 1, kMaxInt32).value_or(0);
  if (scaling.type == "llama3") {
    scaling.low_freq_factor = rope.required_number("low_freq_factor", kPositive);
    scaling.high_freq_factor = rope.required_number("high_freq_factor", kPositive);
    rope.required_integer("original_max_position_embeddings", 1, kMaxInt32);
    if (scaling.high_freq_factor <= scaling.low_freq_factor)
      throw Error(Errc::kBadFile, "{}: field 'high_freq_factor': wanted more than low_freq_factor {}, got {}",
                  rope.where(), scaling.low_freq_factor, scaling.high_freq_factor);
  }
  return scaling;
}

// rope_parameters is transformers 5's; rope_theta lies in it. Before: rope_theta beside rope_scaling.
void read_rope(const Fields& config, HfConfig& out) {
  const char* key = config.find("rope_parameters") != nullptr ? "rope_parameters" : "rope_scaling";
  out.rope_theta = config.number("rope_theta", kPositive).value_or(out.rope_theta);
  out.partial_rotary_factor = config.number("partial_rotary_factor", {0, 1, true}).value_or(out.partial_rotary_factor);
  const json* object = config.find(key);
  if (object == nullptr) return;
  const Fields rope(*object, fmt::format("{}: field '{}'", config.where(), key));
  for (const auto& [name, value] : object->items())
    if (value.is_object())
      throw Error(Errc::kUnsupported, "{}: wanted one set of parameters for all layers, got one for '{}'", rope.where(),
                  printable(name));
  out.rope_scaling = read_rope_scaling(rope);
  out.rope_theta = rope.number("rope_theta", kPositive).value_or(out.rope_theta);
  out.partial_rotary_factor = rope.number("partial_rotary_factor", {0, 1, true}).value_or(out.partial_rotary_factor);
}

void read_heads(const Fields& config, HfConfig& out) {
  out.n_heads = config.required_integer("num_attention_heads", 1, kMaxCount);
  out.n_kv_heads = config.integer("num_key_value_heads", 1, kMaxCount).value_or(out.n_heads);
  if (out.n_heads % out.n_kv_heads != 0)
    throw Error(Errc::kBadFile, "{}: field 'num_key_value_heads': wanted a divisor of num_attention_heads {}, got {}",
                config.where(), out.n_heads, out.n_kv_heads);
  if (const auto head_dim = config.integer("head_dim", 1, kMaxCount)) {
    out.head_dim = *head_dim;
  } else {
    if (out.hidden_size % out.n_heads != 0)
      throw Error(Errc::kBadFile, "{}: field 'num_attention_heads': wanted a divisor of hidden_size {}, got {}",
                  config.where(), out.hidden_size, out.n_heads);
    out.head_dim = out.hidden_size / out.n_heads;
  }
  if (out.head_dim % 2 != 0)  // rotary embedding turns pairs
    throw Error(Errc::kBadFile, "{}: field 'head_dim': wanted an even number, got {}", config.where(), out.head_dim);
}

// In the file's order, which GPTQ's rules depend on.
std::string quantization_text(const Fields& config, std::string_view text) {
  if (config.find("quantization_config") == nullptr) return "";
  return nlohmann::ordered_json::parse(text)["quantization_config"].dump();
}

}  // namespace

HfConfig read_hf_config(const fs::path& directory) {
  HfConfig out;
  out.path = (directory / "config.json").string();
  const std::string text = read_file(out.path, kMaxConfigBytes);
  const json object = parse_json(text, out.path);
  Fields config(object, out.path);
  out.architecture = read_architecture(config);
  config.set_hint(fmt::format(" (architecture '{}')", printable(out.architecture)));
  out.model_type = config.string("model_type").value_or("");
  out.dtype = read_dtype(config);
  out.vocab_size = config.required_integer("vocab_size", 1, kMaxVocab);
  out.hidden_size = config.required_integer("hidden_size", 1, kMaxWidth);
  out.intermediate_size = config.required_integer("intermediate_size", 1, kMaxWidth);
  out.n_layers = config.required_integer("num_hidden_layers", 1, kMaxCount);
  read_heads(config, out);
  out.max_position_embeddings = config.required_integer("max_position_embeddings", 1, kMaxInt32);
  out.rms_norm_eps = config.number("rms_norm_eps", {0, 1, true}).value_or(out.rms_norm_eps);
  read_rope(config, out);
  out.tie_word_embeddings = config.boolean("tie_word_embeddings").value_or(out.tie_word_embeddings);
  out.attention_bias = config.boolean("attention_bias");
  out.mlp_bias = config.boolean("mlp_bias");
  out.use_sliding_window = config.boolean("use_sliding_window").value_or(out.use_sliding_window);
  out.layer_types = config.strings("layer_types");
  out.hidden_act = config.string("hidden_act").value_or(out.hidden_act);
  out.quantization = quantization_text(config, text);
  out.eos_token_ids = config.token_ids("eos_token_id");
  out.bos_token_id = config.token_id("bos_token_id");
  return out;
}

HfGenerationConfig read_hf_generation_config(const fs::path& directory) {
  HfGenerationConfig out;
  out.path = (directory / "generation_config.json").string();
  if (std::error_code ignored; !fs::exists(out.path, ignored)) return out;
  const json object = parse_json(read_file(out.path, kMaxConfigBytes), out.path);
  const Fields config(object, out.path);
  out.eos_token_ids = config.token_ids("eos_token_id");
  out.bos_token_id = config.token_id("bos_token_id");
  out.do_sample = config.boolean("do_sample");
  out.temperature = config.number("temperature", {0, 1e30});
  out.top_p = config.number("top_p", {0, 1, true});
  out.min_p = config.number("min_p", {0, 1});
  out.repetition_penalty = config.number("repetition_penalty", kPositive);
  if (const auto top_k = config.integer("top_k", -1, kMaxInt32)) out.top_k = static_cast<int32_t>(*top_k);
  return out;
}

}  // namespace trimeter
