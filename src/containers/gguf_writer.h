// A Hugging Face checkpoint as a GGUF file that llama.cpp runs: what convert_hf_to_gguf.py and llama-quantize make of
// it.
#pragma once
#include <filesystem>
#include <functional>

#include "containers/gguf_mixture.h"
#include "io/safetensors.h"
#include "text/gguf_vocabulary.h"

namespace trimeter {

class GgufCheckpoint {
 public:
  // directory: config.json, safetensors, a tokenizer.json that a GGUF file can say (text/gguf_vocabulary_of.h); others
  // are refused by name, as are architectures but Llama and Qwen2. Throws Error with file, tensor or field.
  GgufCheckpoint(const std::filesystem::path& directory, const GgufFileType& type);
  int64_t tensor_bytes() const;
  // On which texts the file's tokenizer does otherwise than tokenizer.json: sentences.
  const std::vector<std::string>& tokenizer_differences() const { return tokenizer_differences_; }
  // Weights are read in float, one tensor in memory at a time, and quantized as ggml does (schemes/ggml/codec.h).
  // Atomic.
  void write(const std::filesystem::path& path, const std::function<void(int done, int total)>& on_progress) const;

 private:
  struct Tensor {
    std::string name;  // ours
    GgmlType type;
    std::vector<int64_t> shape;
  };
  void add(const std::string& name, std::vector<int64_t> shape);
  std::vector<std::byte> encode_tensor(const Tensor& tensor) const;

  const std::filesystem::path directory_;
  const GgufFileType& type_;
  const ModelSpec spec_;
  const Checkpoint checkpoint_;
  std::vector<std::string> tokenizer_differences_;
  const GgufVocabulary vocabulary_;
  std::vector<Tensor> tensors_;
};

}  // namespace trimeter
