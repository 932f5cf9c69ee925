#include "containers/gguf_mixture.h"

#include <cstdlib>

#include "base/error.h"
#include "schemes/ggml/ggml_scheme.h"
#include "schemes/stacked_scheme.h"

namespace trimeter {
namespace {

constexpr GgufFileType kFileTypes[] = {
    {0, "f32", GgmlType::kF32},      {1, "f16", GgmlType::kF16},      {32, "bf16", GgmlType::kBF16},
    {7, "q8_0", GgmlType::kQ8_0},    {2, "q4_0", GgmlType::kQ4_0},    {3, "q4_1", GgmlType::kQ4_1},
    {8, "q5_0", GgmlType::kQ5_0},    {9, "q5_1", GgmlType::kQ5_1},    {10, "q2_k", GgmlType::kQ2_K},
    {11, "q3_k_s", GgmlType::kQ3_K}, {12, "q3_k_m", GgmlType::kQ3_K}, {13, "q3_k_l", GgmlType::kQ3_K},
    {14, "q4_k_s", GgmlType::kQ4_K}, {15, "q4_k_m", GgmlType::kQ4_K}, {16, "q5_k_s", GgmlType::kQ5_K},
    {17, "q5_k_m", GgmlType::kQ5_K}, {18, "q6_k", GgmlType::kQ6_K}};

constexpr std::string_view kFormatPrefix = "gguf-";

bool is_float(GgmlType type) { return info(type).block_elements == 1; }

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

int64_t layer_of(const std::string& tensor) {
  return std::strtoll(tensor.c_str() + std::string_view("model.layers.").size(), nullptr, 10);
}

// Where a mixture spends its bits: both ends and every third between.
bool gets_more_bits(int64_t layer, int64_t n_layers) {
  return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

GgmlType of_v(const ModelSpec& model, std::string_view mix, GgmlType base, int64_t layer) {
  GgmlType type = base;
  if (mix == "q2_k") type = model.n_heads / model.n_kv_heads >= 4 ? GgmlType::kQ4_K : GgmlType::kQ3_K;
  if (mix == "q3_k_m") type = layer < 2 ? GgmlType::kQ5_K : GgmlType::kQ4_K;
  if (mix == "q3_k_l") type = GgmlType::kQ5_K;
  if ((mix == "q4_k_m" || mix == "q5_k_m") && gets_more_bits(layer, model.n_layers)) type = GgmlType::kQ6_K;
  if (mix == "q4_k_s" && layer < 4) type = GgmlType::kQ5_K;
  // llama.cpp's 70B: eight heads share a v, which costs little and helps much.
  const bool is_70b =
      model.architecture == "LlamaForCausalLM" && model.n_layers == 80 && model.n_heads != model.n_kv_heads;
  if (is_70b && (type == GgmlType::kQ3_K || type == GgmlType::kQ4_K)) type = GgmlType::kQ5_K;
  return type;
}

GgmlType of_down(const ModelSpec& model, std::string_view mix, GgmlType base, int64_t layer) {
  if (mix == "q2_k") return GgmlType::kQ3_K;
  if (mix == "q3_k_m") return layer < model.n_layers / 16 ? GgmlType::kQ5_K : GgmlType::kQ4_K;
  if (mix == "q3_k_l") return GgmlType::kQ5_K;
  if ((mix == "q4_k_m" || mix == "q5_k_m") && gets_more_bits(layer, model.n_layers)) return GgmlType::kQ6_K;
  if (mix == "q4_k_s" && layer < model.n_layers / 8) return GgmlType::kQ5_K;
  return base;
}

GgmlType of_attention_out(std::string_view mix, GgmlType base) {
  if (mix == "q2_k") return GgmlType::kQ3_K;
  if (mix == "q3_k_m") return GgmlType::kQ4_K;
  if (mix == "q3_k_l") return GgmlType::kQ5_K;
  return base;
}

GgmlType with_whole_blocks(GgmlType type, int64_t in) {
  if (in % info(type).block_elements == 0) return type;
  if (type == GgmlType::kQ2_K || type == GgmlType::kQ3_K) type = GgmlType::kQ4_0;
  if (type == GgmlType::kQ4_K) type = GgmlType::kQ5_0;
  if (type == GgmlType::kQ5_K) type = GgmlType::kQ5_1;
  if (type == GgmlType::kQ6_K) type = GgmlType::kQ8_0;
  return in % info(type).block_elements == 0 ? type : GgmlType::kF16;
}

}  // namespace

const GgufFileType& gguf_file_type(std::string_view wanted) {
  std::string names;
  for (const GgufFileType& type : kFileTypes) {
    if (type.name == wanted) return type;
    names += (names.empty() ? "" : ", ") + std::string(type.name);
  }
  throw Error(Errc::kBadArgument, "GGUF type '{}': there is no such type; there are {}", wanted, names);
}

const GgufFileType* find_gguf_file_type(int64_t number) {
  for (const GgufFileType& type : kFileTypes)
    if (type.number == number) return &type;
  return nullptr;
}

GgmlType gguf_tensor_type(const ModelSpec& model, const GgufFileType& file_type, const std::string& tensor,
                          int64_t in) {
  if (contains(tensor, "norm.") || tensor.ends_with(".bias")) return GgmlType::kF32;
  const GgmlType base = file_type.base;
  if (is_float(base)) return base;
  const bool is_embedding = tensor == "model.embed_tokens.weight";
  if (tensor == "lm_head.weight" || (is_embedding && model.tie_word_embeddings)) {
    if (in % info(base).block_elements != 0) return with_whole_blocks(GgmlType::kQ8_0, in);
    return base == GgmlType::kQ8_0 ? base : with_whole_blocks(GgmlType::kQ6_K, in);
  }
  GgmlType type = base;
  if (contains(tensor, ".v_proj.")) type = of_v(model, file_type.name, base, layer_of(tensor));
  if (contains(tensor, ".down_proj.")) type = of_down(model, file_type.name, base, layer_of(tensor));
  if (contains(tensor, ".o_proj.")) type = of_attention_out(file_type.name, base);
  return with_whole_blocks(type, in);
}

const GgufFileType& gguf_file_type_of(const Format& format) {
  const std::string_view name(format.name);  // "gguf-q4_k", "gguf-q4_k+kv-fp8"
  std::string_view type = name.substr(0, name.find('+')).substr(kFormatPrefix.size());
  for (const std::string_view mixed : {"q3_k_m", "q4_k_m", "q5_k_m"})
    if (type == mixed.substr(0, 4)) type = mixed;
  return gguf_file_type(type);
}

Format with_gguf_mixture(Format format, const ModelSpec& model) {
  if (format.container != "gguf") return format;
  const GgufFileType& file_type = gguf_file_type_of(format);
  const auto scheme_of_linear = [&](const LinearSpec& linear) {
    std::vector<StackedPart> parts;
    for (const LinearPart& part : linear.parts)
      parts.push_back({scheme_of(gguf_tensor_type(model, file_type, part.tensor, linear.shape.in)), part.n_rows});
    return std::string(stacked_scheme(parts).info().name);
  };
  for (const LinearSpec& linear : model.linears())
    if (const std::string scheme = scheme_of_linear(linear); scheme != format.scheme)
      format.scheme_of_module[module_name(linear)] = scheme;
  format.scheme_of_module.emplace(std::string(kLmHeadModule),
                                  scheme_of_linear(model.lm_head()));  // unless the name says another
  if (!model.tie_word_embeddings)
    format.scheme_of_module[std::string(kEmbeddingModule)] = scheme_of_linear(embedding_as_linear(model));
  return format;
}

}  // namespace trimeter
