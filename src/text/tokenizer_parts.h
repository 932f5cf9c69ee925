// All that a tokenizer is made of, typed and checked, wherever it was read.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/unigram.h"

namespace trimeter {

struct TokenizerParts {
  std::vector<NormalizerStep> normalizer_steps;
  std::vector<SplitStep> split_steps;  // in order; each piece that comes out is a word for the model
  std::variant<BpeParts, UnigramParts> model;
  TokenDecoderParts decoder;
  std::vector<AddedToken> added_tokens;
  std::vector<int32_t> prefix, suffix;  // what stands around a text that is encoded with special tokens
  std::string chat_template, chat_template_path, bos_token, eos_token, pad_token;
};

// Of either model.
const TokenIds& vocab_of(const TokenizerParts& parts);

// tokenizer.json and tokenizer_config.json. Throws Error(kBadFile / kUnsupported) with path and field; config_json may
// be empty.
TokenizerParts parse_tokenizer_file(std::string_view tokenizer_json, std::string_view config_json,
                                    const std::string& path);
// Both of a directory, and its chat_template.jinja.
TokenizerParts read_tokenizer_directory(const std::filesystem::path& directory);

}  // namespace trimeter
