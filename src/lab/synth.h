// A checkpoint to measure speed on where none can be downloaded: the shape of a published model, random weights, a
// tokenizer as large as the real one.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/thread_pool.h"

namespace trimeter {

enum class ModelFamily { kQwen25, kLlama31, kLlama32 };
// As in config.json.
struct ModelShape {
  std::string_view name;
  ModelFamily family;
  int64_t hidden_size, intermediate_size, n_layers, n_heads, n_kv_heads, head_dim, vocab_size, max_position_embeddings;
  bool tie_word_embeddings;
};
std::span<const ModelShape> all_shapes();
// Throws Error(kBadArgument) with the names there are.
const ModelShape& shape_named(std::string_view name);

// config.json.
std::string synthetic_config(const ModelShape& shape);

// Writes config.json, generation_config.json, safetensors in bf16 and a tokenizer into an empty directory.
//
// Weights: normal (four uniforms added), of standard deviation 0.02, transformers' initializer_range; what writes to
// the residual stream divided by sqrt(2 layers), as in GPT-2, so that hidden states keep their scale. Norms: 1. Biases
// as weights. A row's values depend on the seed, the tensor's name and the row alone: the same bytes everywhere.
//
// Tokenizer: byte-level BPE of exactly vocab_size tokens, the pre-tokenizer and chat template of Qwen2: the bytes,
// every pair of printable ASCII, then words of lower-case letters, shorter first; <|endoftext|>, <|im_start|> and
// <|im_end|> last. Any text comes back as it was; English takes a token for each three or so characters.
//
// In memory: one tensor. Throws Error(kIo) with path and reason.
void write_synthetic(const ModelShape& shape, uint64_t seed, const std::filesystem::path& directory, ThreadPool& pool,
                     const std::function<void(const std::string& what, int done, int total)>& on_progress);

}  // namespace trimeter
