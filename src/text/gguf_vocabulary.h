// The tokenizer that a GGUF file carries in its metadata, as its keys have it; Tokenizer::from_gguf makes it work.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace trimeter {

struct TokenizerParts;

inline constexpr const char* kMetaSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's space

// tokenizer.ggml.token_type.
enum class GgufTokenType : int32_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

// Each field is the key tokenizer.ggml.NAME; an absent key leaves it as it is here.
struct GgufVocabulary {
  std::string model;  // "gpt2": byte-level BPE; "llama": SentencePiece BPE. Others are refused by name
  std::string pre;    // of gpt2: how text is cut into words ("qwen2", "llama-bpe", ...); empty is "default"
  std::vector<std::string> tokens;
  std::vector<float> scores;        // of llama: one per token; the pair whose product scores highest merges first
  std::vector<int32_t> token_type;  // one per token, or none: all normal
  std::vector<std::string> merges;  // of gpt2: "left right", best first
  std::optional<int32_t> bos_token_id, eos_token_id;
  std::optional<int32_t> unknown_token_id, padding_token_id;  // for others: we need neither
  std::optional<bool> add_bos_token, add_eos_token, add_space_prefix;
  std::string chat_template;  // tokenizer.chat_template
};

// Encodes as llama.cpp does (llama-vocab.cpp): no Unicode normalization; control, unknown and user-defined tokens are
// found in the text. Left out: what llama.cpp knows of certain names, to mend files that do not say it (tokens spelled
// as ends of a turn become control tokens, those of models called phi-3 take the white space on their right).
// path: the file, for what is said of it. Throws Error(kBadFile / kUnsupported) with path and key.
TokenizerParts parts_of_gguf(const GgufVocabulary& vocabulary, const std::string& path);

}  // namespace trimeter
