// A model in a GGUF file, of llama.cpp's architectures "llama" and "qwen2": its spec, tokenizer and weights as they lie
// there, each tensor in its own type. Names and conventions: llama.cpp's src/llama-arch.cpp and convert_hf_to_gguf.py.
//   blk.N.attn_q.weight, ...   our model.layers.N.self_attn.q_proj.weight; a file without output.weight is tied
//   llama's q and k rows       lie in pairs (2j, 2j + 1) of one rotation, ours in halves (j, j + head_dim / 2)
#pragma once
#include <filesystem>

#include "io/gguf.h"
#include "io/hf_config.h"
#include "io/safetensors.h"
#include "spec/format.h"
#include "spec/model_spec.h"
#include "text/gguf_vocabulary.h"

namespace trimeter {

// A path that names a GGUF file rather than a directory.
bool is_gguf(const std::filesystem::path& path);

class GgufModel {
 public:
  // Throws Error with file, key or tensor, wanted and got; kUnsupported for an architecture, rope scaling or tensor
  // type we lack, and for tensors that the architecture doesn't have.
  static GgufModel open(const std::filesystem::path& path);

  const std::string& path() const { return file_.metadata().path(); }
  const ModelSpec& spec() const { return spec_; }
  // After general.file_type "gguf-q4_k", as formats.def lists it, or "gguf-q4_k_s", which it does not: the scheme that
  // most linears have, the others as its scheme_of_module; of an untied embedding under kEmbeddingModule.
  const Format& format() const { return format_; }
  HfGenerationConfig generation() const;
  GgufVocabulary vocabulary() const;

  // Rows as we order them. Codes are copied from the mapping; floats stay in it.
  CanonicalWeight linear(const LinearSpec& linear) const;
  std::vector<TensorView> floats(const LinearSpec& linear) const;  // those of its matrices that hold floats, unchecked
  std::vector<float> bias(const LinearSpec& linear) const;         // empty if it has none
  std::vector<float> norm(const std::string& tensor) const;        // "model.norm.weight": [hidden]
  // Gives the file's pages back.
  void release(const LinearSpec& linear) const;

 private:
  explicit GgufModel(Gguf file) : file_(std::move(file)) {}
  void read_spec();
  void read_format();
  void check_no_stranger() const;
  bool rows_in_pairs(const std::string& tensor) const;
  std::vector<float> vector(const std::string& tensor, int64_t n) const;

  Gguf file_;
  ModelSpec spec_;
  Format format_;
};

// Llama 3.1's rope scaling lies in a file as the factor of each frequency, in this tensor, [head_dim / 2]; the rule has
// these constants in all of Llama 3.1 to 3.3. Of frequency i, theta^(-i / n), by its wavelength in tokens.
inline constexpr std::string_view kRopeFactors = "rope_freqs.weight";
RopeScaling llama31_rope_scaling(double factor);
std::vector<float> llama31_rope_factors(double factor, double theta, int64_t n);

// The tensor of a GGUF file that holds ours: "model.layers.3.mlp.up_proj.weight" -> "blk.3.ffn_up.weight".
std::string gguf_tensor_name(const std::string& tensor);

// Row of our q or k matrix -> row of llama's in a GGUF file.
inline int64_t paired_row(int64_t row, int64_t head_dim) {
  const int64_t in_head = row % head_dim, half = head_dim / 2;
  return row - in_head + in_head % half * 2 + in_head / half;
}

}  // namespace trimeter
