#include "spec/model_spec.h"

#include <limits>

#include "base/error.h"
#include "io/safetensors.h"

namespace trimeter {
namespace {

// What an architecture fixes beyond the numbers in config.json (transformers: modeling_qwen2.py, modeling_llama.py).
struct Architecture {
  std::string_view name, model_type;
  bool qkv_bias_always;  // Qwen2: q, k and v have biases, the output projection none, and config.json has no say
};
constexpr Architecture kArchitectures[] = {{"Qwen2ForCausalLM", "qwen2", true}, {"LlamaForCausalLM", "llama", false}};

const Architecture& find_architecture(const HfConfig& config) {
  std::string names;
  for (const Architecture& known : kArchitectures) {
    if (known.name == config.architecture) return known;
    names += names.empty() ? "" : ", ";
    names += known.name;
  }
  throw Error(Errc::kUnsupported, "{}: architectures: there is no support for '{}'; there is for {}", config.path,
              config.architecture, names);
}

// The two are chosen by: model_type by transformers, architectures by vLLM.
void check_model_type(const HfConfig& config, const Architecture& architecture) {
  if (!config.model_type.empty() && config.model_type != architecture.model_type)
    throw Error(Errc::kBadFile, "{}: model_type: wanted '{}' as architectures is '{}', got '{}'", config.path,
                architecture.model_type, architecture.name, config.model_type);
}

bool is_run(DType dtype) { return dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kF32; }

void refuse_unsupported(const HfConfig& config) {
  if (config.hidden_act != "silu")
    throw Error(Errc::kUnsupported, "{}: hidden_act: wanted silu, got '{}'", config.path, config.hidden_act);
  if (config.use_sliding_window)
    throw Error(Errc::kUnsupported, "{}: use_sliding_window: sliding windows are not supported, got true", config.path);
  if (config.partial_rotary_factor != 1)
    throw Error(Errc::kUnsupported, "{}: partial_rotary_factor: wanted 1, got {}", config.path,
                config.partial_rotary_factor);
  for (const std::string& type : config.layer_types)
    if (type != "full_attention")
      throw Error(Errc::kUnsupported, "{}: layer_types: wanted full_attention, got '{}'", config.path, type);
  if (!config.dtype || !is_run(*config.dtype))
    throw Error(Errc::kUnsupported, "{}: torch_dtype: wanted bfloat16, float16 or float32, got {}", config.path,
                config.dtype ? torch_name(*config.dtype) : "none");
}

void check_positive(const HfConfig& config, const char* field, int64_t value) {
  if (value <= 0 || value > std::numeric_limits<int32_t>::max())
    throw Error(Errc::kBadFile, "{}: {}: wanted 1 to 2^31 - 1, got {}", config.path, field, value);
}

void check_above_zero(const HfConfig& config, const char* field, double value) {
  if (!(value > 0 && value < std::numeric_limits<double>::infinity()))
    throw Error(Errc::kBadFile, "{}: {}: wanted a positive number, got {}", config.path, field, value);
}

void check_rope_scaling(const HfConfig& config) {
  const RopeScaling& rope = config.rope_scaling;
  if (rope.type == "default") return;
  if (rope.type != "linear" && rope.type != "llama3")
    throw Error(Errc::kUnsupported, "{}: rope_scaling.rope_type: wanted default, linear or llama3, got '{}'",
                config.path, rope.type);
  check_above_zero(config, "rope_scaling.factor", rope.factor);
  if (rope.type != "llama3") return;
  check_positive(config, "rope_scaling.original_max_position_embeddings", rope.original_max_position_embeddings);
  check_above_zero(config, "rope_scaling.low_freq_factor", rope.low_freq_factor);
  if (!(rope.high_freq_factor > rope.low_freq_factor))
    throw Error(Errc::kBadFile, "{}: rope_scaling.high_freq_factor: wanted more than low_freq_factor = {}, got {}",
                config.path, rope.low_freq_factor, rope.high_freq_factor);
}

void check_sizes(const HfConfig& config) {
  check_positive(config, "vocab_size", config.vocab_size);
  check_positive(config, "hidden_size", config.hidden_size);
  check_positive(config, "intermediate_size", config.intermediate_size);
  check_positive(config, "num_hidden_layers", config.n_layers);
  check_positive(config, "num_attention_heads", config.n_heads);
  check_positive(config, "max_position_embeddings", config.max_position_embeddings);
  check_above_zero(config, "rms_norm_eps", config.rms_norm_eps);
  check_above_zero(config, "rope_theta", config.rope_theta);
}

// transformers: as many KV heads as heads, and hidden_size / num_attention_heads channels each, unless it is said.
int64_t resolve_kv_heads(const HfConfig& config) {
  const int64_t n = config.n_kv_heads == 0 ? config.n_heads : config.n_kv_heads;
  check_positive(config, "num_key_value_heads", n);
  if (config.n_heads % n != 0)
    throw Error(Errc::kBadFile, "{}: num_key_value_heads: wanted a divisor of num_attention_heads = {}, got {}",
                config.path, config.n_heads, n);
  return n;
}

int64_t resolve_head_dim(const HfConfig& config) {
  if (config.head_dim == 0 && config.hidden_size % config.n_heads != 0)
    throw Error(Errc::kBadFile, "{}: hidden_size: wanted a multiple of num_attention_heads = {}, got {}", config.path,
                config.n_heads, config.hidden_size);
  const int64_t head_dim = config.head_dim == 0 ? config.hidden_size / config.n_heads : config.head_dim;
  check_positive(config, "head_dim", head_dim);
  if (head_dim % 2 != 0)
    throw Error(Errc::kBadFile, "{}: head_dim: rotary embedding turns pairs: wanted an even number, got {}",
                config.path, head_dim);
  return head_dim;
}

// No matrix at all: fp32, which whoever looks for the tensors then does not find.
DType stored_dtype(const Checkpoint& checkpoint) {
  std::optional<DType> dtype;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (tensor.shape.size() != 2) continue;
    if (!is_run(tensor.dtype))
      throw Error(Errc::kUnsupported, "{}: tensor '{}': wanted BF16, F16 or F32, got {}", tensor.file->path().string(),
                  name, trimeter::name(tensor.dtype));
    dtype = dtype.value_or(tensor.dtype) == tensor.dtype ? tensor.dtype : DType::kF32;
  }
  return dtype.value_or(DType::kF32);
}

}  // namespace

std::string_view name(LinearRole role) {
  static constexpr std::string_view kNames[] = {"qkv_proj", "o_proj", "gate_up_proj", "down_proj", "lm_head"};
  return kNames[static_cast<int>(role)];
}

std::string module_name(const LinearSpec& linear) {
  if (linear.role == LinearRole::kLmHead) return "lm_head";
  const bool attention = linear.role == LinearRole::kQkv || linear.role == LinearRole::kAttentionOut;
  return fmt::format("model.layers.{}.{}.{}", linear.layer, attention ? "self_attn" : "mlp", name(linear.role));
}

std::vector<LinearSpec> ModelSpec::linears() const {
  std::vector<LinearSpec> all;
  for (int layer = 0; layer < n_layers; ++layer)
    for (LinearSpec& linear : linears_of_layer(layer)) all.push_back(std::move(linear));
  return all;
}

std::vector<LinearSpec> ModelSpec::linears_of_layer(int layer) const {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  const int64_t q_rows = n_heads * head_dim, kv_rows = n_kv_heads * head_dim;
  return {
      {LinearRole::kQkv,
       layer,
       {q_rows + 2 * kv_rows, hidden_size},
       qkv_bias,
       {{prefix + "self_attn.q_proj.weight", q_rows},
        {prefix + "self_attn.k_proj.weight", kv_rows},
        {prefix + "self_attn.v_proj.weight", kv_rows}}},
      {LinearRole::kAttentionOut,
       layer,
       {hidden_size, q_rows},
       attention_out_bias,
       {{prefix + "self_attn.o_proj.weight", hidden_size}}},
      {LinearRole::kGateUp,
       layer,
       {2 * intermediate_size, hidden_size},
       mlp_bias,
       {{prefix + "mlp.gate_proj.weight", intermediate_size}, {prefix + "mlp.up_proj.weight", intermediate_size}}},
      {LinearRole::kDown,
       layer,
       {hidden_size, intermediate_size},
       mlp_bias,
       {{prefix + "mlp.down_proj.weight", hidden_size}}},
  };
}

LinearSpec ModelSpec::lm_head() const {
  return {LinearRole::kLmHead,
          -1,
          {vocab_size, hidden_size},
          false,
          {{tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight", vocab_size}}};
}

int64_t ModelSpec::n_parameters() const {
  int64_t per_layer = 2 * hidden_size;
  for (const LinearSpec& linear : linears_of_layer(0))
    per_layer += linear.shape.out * linear.shape.in + (linear.has_bias ? linear.shape.out : 0);
  const int64_t embeddings = (tie_word_embeddings ? 1 : 2) * vocab_size * hidden_size;
  return n_layers * per_layer + embeddings + hidden_size;
}

ModelSpec make_model_spec(const HfConfig& config) {
  const Architecture& architecture = find_architecture(config);
  check_model_type(config, architecture);
  refuse_unsupported(config);
  check_sizes(config);
  check_rope_scaling(config);
  const bool attention_bias = config.attention_bias.value_or(false);
  ModelSpec spec;
  spec.architecture = config.architecture;
  spec.dtype = *config.dtype;
  spec.vocab_size = config.vocab_size;
  spec.hidden_size = config.hidden_size;
  spec.intermediate_size = config.intermediate_size;
  spec.n_layers = config.n_layers;
  spec.n_heads = config.n_heads;
  spec.n_kv_heads = resolve_kv_heads(config);
  spec.head_dim = resolve_head_dim(config);
  check_positive(config, "num_attention_heads x head_dim", spec.n_heads * spec.head_dim);
  spec.max_position_embeddings = config.max_position_embeddings;
  spec.rms_norm_eps = config.rms_norm_eps;
  spec.rope_theta = config.rope_theta;
  spec.rope_scaling = config.rope_scaling;
  spec.tie_word_embeddings = config.tie_word_embeddings;
  spec.qkv_bias = architecture.qkv_bias_always || attention_bias;
  spec.attention_out_bias = !architecture.qkv_bias_always && attention_bias;
  spec.mlp_bias = !architecture.qkv_bias_always && config.mlp_bias.value_or(false);
  spec.eos_token_ids = config.eos_token_ids;
  return spec;
}

LinearSpec embedding_as_linear(const ModelSpec& model) {
  return {LinearRole::kLmHead,
          -1,
          {model.vocab_size, model.hidden_size},
          false,
          {{"model.embed_tokens.weight", model.vocab_size}}};
}

ModelSpec read_model_spec(const std::filesystem::path& directory) {
  HfConfig config = read_hf_config(directory);
  if (!config.dtype) config.dtype = stored_dtype(Checkpoint::open(directory));
  return make_model_spec(config);
}

}  // namespace trimeter
