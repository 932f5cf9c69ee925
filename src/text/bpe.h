// Byte-pair encoding of one word: the pair with the lowest rank merges first, the leftmost among equals.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace trimeter {

// Looks up a std::string key by a string_view without making a string of it.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using TokenIds = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

class Bpe {
 public:
  // vocab and merges are in the byte-level alphabet, as tokenizer.json has them. Throws Error(kBadFile) naming `path`
  // and the merge or the byte for which the vocabulary has no token.
  Bpe(const TokenIds& vocab, const std::vector<std::pair<std::string, std::string>>& merges, bool ignore_merges,
      const std::string& path);

  // Appends the tokens of `word`, raw bytes of valid UTF-8. O(n log n) in its length.
  void encode(std::string_view word, std::vector<int32_t>& out) const;

 private:
  struct Merge {
    int32_t rank, id;
  };
  struct Candidate {
    int32_t rank, position, id;
    // For a heap whose top merges first.
    bool operator<(const Candidate& b) const { return std::pair(rank, position) > std::pair(b.rank, b.position); }
  };
  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }

  std::array<int32_t, 256> byte_ids_;
  std::unordered_map<uint64_t, Merge> merges_;
  TokenIds whole_words_;  // ignore_merges: a word that is a token needs no merging; empty without it
};

}  // namespace trimeter
