// A Hugging Face checkpoint as a GGUF file that llama.cpp runs: what convert_hf_to_gguf.py and llama-quantize make of
// it.
#pragma once
#include <filesystem>
#include <functional>

#include "containers/gguf_mixture.h"

namespace trimeter {

// directory: config.json, safetensors, tokenizer.json of byte-level BPE with the words of Qwen2, Llama 3 or GPT-2;
// others are refused by name, as are architectures but Llama and Qwen2. Weights are read in float, one tensor in memory
// at a time, and quantized as ggml does (schemes/ggml/codec.h). Atomic. Throws Error with file, tensor or field.
void write_gguf_checkpoint(const std::filesystem::path& directory, const GgufFileType& type,
                           const std::filesystem::path& path,
                           const std::function<void(int done, int total)>& on_progress);

}  // namespace trimeter
