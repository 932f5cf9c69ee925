// config.json and generation_config.json of a Hugging Face checkpoint: typed, checked, nothing interpreted.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace trimeter {

// transformers' rope_scaling (or, since v5, rope_parameters): modeling_rope_utils.py.
struct RopeScaling {
  std::string type = "default";  // default | linear | dynamic | llama3 | yarn
  double factor = 1.0;
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  int64_t original_max_position_embeddings = 0;          // llama3; 0: not given
};

struct HfConfig {
  std::string path;          // of config.json, for messages
  std::string architecture;  // architectures[0]: "Qwen2ForCausalLM"
  std::string model_type;
  std::optional<DType> dtype =
      DType::kBF16;  // dtype or, before transformers 4.56, torch_dtype; none if neither is given
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, n_layers = 0, n_heads = 0, n_kv_heads = 0,
          head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6, rope_theta = 10000;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false;
  std::optional<bool> attention_bias, mlp_bias;  // absent: the architecture's default
  bool use_sliding_window = false;
  double partial_rotary_factor = 1;
  std::vector<std::string> layer_types;  // absent: all "full_attention"
  std::string hidden_act = "silu";
  std::string quantization;            // quantization_config: JSON text, keys in the file's order; empty: none
  std::vector<int32_t> eos_token_ids;  // of config.json
  std::optional<int32_t> bos_token_id;
};

struct HfGenerationConfig {
  std::string path;  // of generation_config.json, for messages
  std::vector<int32_t> eos_token_ids;
  std::optional<int32_t> bos_token_id;
  std::optional<bool> do_sample;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int32_t> top_k;
};

// Throw Error(kNotFound / kBadFile / kUnsupported) with file and field, wanted and got.
HfConfig read_hf_config(const std::filesystem::path& directory);
// All fields absent if there is no such file.
HfGenerationConfig read_hf_generation_config(const std::filesystem::path& directory);

}  // namespace trimeter
