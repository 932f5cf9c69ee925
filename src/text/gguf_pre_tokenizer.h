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
// The name of the kind that cuts as these steps of a tokenizer.json do; empty if there is none. U+017F in a contraction
// and white space that DeepSeek's CJK range takes in are llama.cpp's, whatever the file says.
std::string_view gguf_pre_tokenizer_that_splits(const std::vector<SplitStep>& steps, bool ignore_merges);
// "chatglm-bpe, ...": for the message that refuses another.
std::string gguf_pre_tokenizer_names();

}  // namespace trimeter
