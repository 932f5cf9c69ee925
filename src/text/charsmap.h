// SentencePiece's precompiled normalization rules: a Darts double-array trie from byte sequences to replacements.
// Layout, little-endian: u32 bytes of the trie; the trie's units, u32 each; the replacements, each ended by a zero
// byte. A unit: bits 0-7 label, bit 8 whether a value hangs below, bits 10-30 the offset of its children (times 256 if
// bit 9 is set); a value unit has bit 31 set and the replacement's place in bits 0-30. Sources: sentencepiece
// src/normalizer.cc, darts-clone.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trimeter {

class Charsmap {
 public:
  // Throws Error(kBadFile) naming `where` for lengths that do not fit the bytes.
  Charsmap(std::string_view bytes, const std::string& where);
  // As tokenizers applies it, which differs from sentencepiece: a grapheme of less than 6 bytes is replaced whole if a
  // rule matches its beginning, the shortest rule first; otherwise each character by itself.
  std::string apply(std::string_view text) const;

 private:
  std::optional<std::string_view> replacement(std::string_view chunk) const;

  std::vector<uint32_t> units_;
  std::string replacements_;
};

}  // namespace trimeter
