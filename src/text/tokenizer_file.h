// tokenizer.json and tokenizer_config.json, typed and checked: what is left is to build a tokenizer of it.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/pre_tokenizer.h"

namespace trimeter {

struct TokenizerFile {
  bool nfc = false;
  std::vector<SplitStep> split_steps;  // in order; each piece that comes out is a word for BPE
  TokenIds vocab;                      // in the byte-level alphabet
  std::vector<std::pair<std::string, std::string>> merges;
  bool ignore_merges = false;
  std::vector<AddedToken> added_tokens;  // of tokenizer.json, then those that only tokenizer_config.json has
  std::vector<int32_t> prefix, suffix;   // what the post-processor's template puts around a text
  std::string chat_template, bos_token, eos_token;
};

// Throws Error(kBadFile / kUnsupported) with path and field; config_json may be empty.
TokenizerFile parse_tokenizer_file(std::string_view tokenizer_json, std::string_view config_json,
                                   const std::string& path);

}  // namespace trimeter
