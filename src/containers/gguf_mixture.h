// Which type each tensor of a GGUF file gets: llama-quantize's rule, without an importance matrix
// (llama.cpp: llama_tensor_get_type in src/llama-quant.cpp).
#pragma once
#include <string>
#include <string_view>

#include "spec/format.h"
#include "spec/model_spec.h"
#include "tensor/ggml_type.h"

namespace trimeter {

struct GgufFileType {
  uint32_t number;        // general.file_type
  std::string_view name;  // "q4_k_m"
  GgmlType base;          // of most linears
};

// By llama-quantize's name, lower case. Throws Error(kBadArgument) with the names there are.
const GgufFileType& gguf_file_type(std::string_view name);
// nullptr: another number.
const GgufFileType* find_gguf_file_type(int64_t number);

// Of the tensor with our name ("model.layers.0.mlp.down_proj.weight"), [.., in]. Norms and biases are F32. Mixtures
// hold some layers' v and down projections (the first and last eighth, and every third between) in more bits, and the
// matrix of the logits in q6_K. A row that is not whole blocks of 256 falls back to a type of 32: q2_K, q3_K -> q4_0,
// q4_K -> q5_0, q5_K -> q5_1, q6_K -> q8_0; one that is not whole blocks of 32 to F16.
GgmlType gguf_tensor_type(const ModelSpec& model, const GgufFileType& file_type, const std::string& tensor, int64_t in);

// Of a format written as GGUF: "gguf-q4_k" is q4_k_m.
const GgufFileType& gguf_file_type_of(const Format& format);
// Such a format with the linears, the logits' matrix and an untied embedding of this model in the types that its file
// has; another as it is.
Format with_gguf_mixture(Format format, const ModelSpec& model);

}  // namespace trimeter
