// A model as data: what config.json says, with the architecture's defaults filled in. There are no model classes.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/hf_config.h"
#include "schemes/scheme.h"

namespace trimeter {

// One matrix of the checkpoint, and where its rows go in the fused linear.
struct LinearPart {
  std::string tensor;  // "model.layers.0.self_attn.q_proj.weight"; its bias is the same name with .bias
  int64_t n_rows;
};

enum class LinearRole { kQkv, kAttentionOut, kGateUp, kDown, kLmHead };
std::string_view name(LinearRole role);  // "qkv_proj", "o_proj", "gate_up_proj", "down_proj", "lm_head" (vLLM's)

// y = x W^T (+ b): parts stacked by rows, as vLLM fuses them. Schemes with one scale per tensor have one scale for all
// the parts (vLLM: facts on online fp8).
struct LinearSpec {
  LinearRole role;
  int layer;  // -1 for lm_head
  MatShape shape;
  bool has_bias;
  std::vector<LinearPart> parts;
};
// vLLM's name of the fused linear: "model.layers.0.self_attn.qkv_proj", "model.layers.0.mlp.down_proj", "lm_head".
std::string module_name(const LinearSpec& linear);

struct ModelSpec {
  std::string architecture;    // "Qwen2ForCausalLM"
  DType dtype = DType::kBF16;  // of the checkpoint: kBF16, kF16 or kF32
  int64_t vocab_size = 0, hidden_size = 0, intermediate_size = 0, n_layers = 0, n_heads = 0, n_kv_heads = 0,
          head_dim = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0, rope_theta = 0;
  RopeScaling rope_scaling;
  bool tie_word_embeddings = false, qkv_bias = false, attention_out_bias = false, mlp_bias = false;
  std::vector<int32_t> eos_token_ids;

  std::vector<LinearSpec> linears_of_layer(int layer) const;  // qkv, o, gate_up, down
  std::vector<LinearSpec> linears() const;                    // of all layers, in their order
  LinearSpec lm_head() const;                                 // parts[0] is the embedding if tied
  int64_t n_parameters() const;
};

// The embedding [vocab, hidden] as if it were multiplied: where it is held in a scheme (kEmbeddingModule).
LinearSpec embedding_as_linear(const ModelSpec& model);

// Throws Error(kUnsupported) for an architecture, activation or rope type we lack, Error(kBadFile) for numbers that
// contradict each other, for a model_type that is another architecture's and where there is no dtype; messages name
// config.json's path and field.
ModelSpec make_model_spec(const HfConfig& config);

// Of the checkpoint in `directory`. Where config.json names no dtype, it is the narrowest that holds all matrices of
// the weights as they are stored (vLLM: config/model.py, _find_dtype).
ModelSpec read_model_spec(const std::filesystem::path& directory);

}  // namespace trimeter
