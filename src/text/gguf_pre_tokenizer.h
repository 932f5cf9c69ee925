// The values of tokenizer.ggml.pre: how a GGUF file's byte-level BPE cuts text into words.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/pre_tokenizer.h"

namespace trimeter {

struct GgufPreTokenizer {
  std::vector<std::string> patterns;  // each splits the pieces of the one before into matches and what lies between
  bool ignore_merges = false;
  bool add_bos = false;  // where the file does not say
};

// Null for a kind that we lack.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view pre);
// "default, gpt-2, ...": for the message that refuses another.
std::string gguf_pre_tokenizer_names();

}  // namespace trimeter
