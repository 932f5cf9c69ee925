// Tokens back to text: tokenizer.json's decoder.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trimeter {

struct TokenDecoderParts {
  bool byte_level = false;  // tokens are in the byte-level alphabet; what isn't stands for itself
  // Otherwise, in this order:
  std::string drop_in_first;                                  // of the first token of a text, wherever it occurs in it
  std::vector<std::pair<std::string, std::string>> replaces;  // in every token: each occurrence of the first
  bool byte_fallback = false;                                 // "<0xE4>" stands for a byte
  std::string strip;                                          // a character that a text does not begin with ...
  int32_t n_strip = 0;                                        // ... taken away this often at most

  // What becomes of bytes that are no UTF-8. tokenizers' ByteFallback: a run of byte tokens with one wrong byte in it
  // is one U+FFFD for each of its bytes. Otherwise each maximal subpart is one.
  bool whole_byte_runs = false;
  bool added_tokens_verbatim = false;  // nothing of the above is done to them
};

class TokenDecoder {
 public:
  // texts: by id, empty for an id that no token has.
  TokenDecoder(TokenDecoderParts parts, std::span<const std::string_view> texts, const std::vector<bool>& is_added);
  // What each token adds to a text that has begun.
  std::string_view bytes(int32_t token) const { return bytes_[static_cast<size_t>(token)]; }
  bool has(int32_t token) const { return !texts_[static_cast<size_t>(token)].empty(); }
  std::string decode(std::span<const int32_t> tokens) const;

 private:
  std::string replaced(std::string_view text) const;

  TokenDecoderParts parts_;
  std::vector<std::string> bytes_;
  std::vector<std::string_view> texts_;
  std::vector<bool> is_byte_;
};

}  // namespace trimeter
