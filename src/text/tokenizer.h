// Text to tokens and back, as a Hugging Face tokenizer.json or a GGUF file describes it: byte-level BPE (GPT-2, Qwen2,
// Llama 3), SentencePiece's BPE (Llama 2, Mistral, Gemma) and unigram (T5, XLM-R).
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trimeter {

struct GgufVocabulary;

class Tokenizer {
 public:
  // directory/tokenizer.json with directory/tokenizer_config.json (optional). Throws Error(kBadFile / kUnsupported)
  // with file and field; a component we lack (a normalizer, a model type, ...) is refused by its name.
  static Tokenizer open(const std::filesystem::path& directory);
  // From the texts themselves: what the fuzz target calls. config may be empty.
  static Tokenizer parse(std::string_view tokenizer_json, std::string_view config_json, const std::string& path);
  // From what a GGUF file has in its metadata (text/gguf_vocabulary.h); path: the file, for what is said of it.
  static Tokenizer from_gguf(const GgufVocabulary& vocabulary, const std::string& path);

  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // As tokenizers' encode(text, add_special_tokens): added tokens in the text are recognised; add_special_tokens
  // applies the post-processor's template (Llama 3: <|begin_of_text|> in front). Throws Error(kBadArgument) if text
  // isn't UTF-8.
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const;
  std::string decode(std::span<const int32_t> tokens, bool skip_special_tokens) const;
  // The raw bytes that one token adds to a text that has begun: SentencePiece's space in front of a word is there,
  // which decode leaves out where a text begins. For a special token its text. Empty for an id that no token has (a
  // model's embedding may have more rows than the vocabulary). Throws Error(kBadArgument) if negative.
  std::string_view token_bytes(int32_t token) const;
  bool is_special(int32_t token) const;
  std::optional<int32_t> token_id(std::string_view token) const;  // by its text in tokenizer.json
  int32_t vocab_size() const;                                     // 1 + the largest id

  // tokenizer_config.json's, empty where absent; a template in chat_template.jinja goes before, as in transformers.
  const std::string& chat_template() const;
  const std::string& chat_template_path() const;  // of the file that has it, or would have it
  const std::string& bos_token() const;
  const std::string& eos_token() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Bytes of tokens in, whole UTF-8 characters out: what a stream may show at any moment. Each maximal subpart of bytes
// that can never become a character comes out as U+FFFD, as tokenizers' decode has it for byte-level tokens; where
// decode has one for each byte of a run of byte-fallback tokens, a stream, which has shown the good ones, has fewer.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what is whole now
  std::string finish();                      // what is left, replaced by U+FFFD
 private:
  std::string pending_;
};

}  // namespace trimeter
