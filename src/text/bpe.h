// Byte-pair encoding of one word: the pair with the lowest rank merges first, the leftmost among equals.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/token_model.h"

namespace trimeter {

struct BpeParts {
  bool byte_level = true;  // words are bytes, written in the byte-level alphabet; otherwise they are characters
  TokenIds vocab;
  std::vector<std::pair<std::string, std::string>> merges;  // best first
  bool ignore_merges = false;                               // a word that is a token needs no merging
  // For a character that has no token: its bytes' tokens if all of them are there, else unk, else nothing at all, as
  // tokenizers does.
  bool byte_fallback = false;
  bool fuse_unk = false;  // neighbouring ones are one
  std::optional<int32_t> unk_id;
  // By id. Instead of merges: any two neighbours whose concatenation is a token may merge, the one with the highest
  // score first (SentencePiece).
  std::vector<float> scores;
};

class Bpe : public TokenModel {
 public:
  // Throws Error(kBadFile) naming `path` and the merge or the byte for which the vocabulary has no token.
  Bpe(const BpeParts& parts, const std::string& path);

  // At most 4 n steps for n symbols, each a look-up and a place in a heap: O(n log n).
  int64_t encode(std::string_view word, std::vector<int32_t>& out) const override;

 private:
  struct Merge {
    int32_t rank, id;
  };
  struct Symbol {
    int32_t id, previous, next;  // neighbours by position, -1 at the ends; id -1: merged into the one on its left
  };
  class Merging;
  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  void take_bytes(const BpeParts& parts, const std::string& path);
  void take_characters(const BpeParts& parts);
  void take_merges(const BpeParts& parts, const std::string& path);
  void take_scores(const BpeParts& parts);
  std::vector<int32_t> symbols_of(std::string_view word) const;
  void append(int32_t symbol, std::vector<int32_t>& out) const;

  bool byte_level_, fuse_unk_;
  std::optional<int32_t> unk_id_;
  std::array<int32_t, 256> byte_ids_;                 // -1: no token
  std::unordered_map<char32_t, int32_t> characters_;  // of tokens that are one character
  std::unordered_map<uint64_t, Merge> merges_;
  TokenIds whole_words_;  // of ignore_merges; empty without it
  // A character that has no token may yet be half of one: it merges by a number past all ids.
  int32_t tokenless_begin_ = 0;
  std::vector<char32_t> tokenless_;
};

}  // namespace trimeter
