// Tokens that are found in the text as they stand, before normalization and pre-tokenization: <|im_start|> and its
// kind.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace trimeter {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;      // left out by decode(skip_special_tokens)
  bool lstrip = false;       // takes the white space on its left with it
  bool rstrip = false;       // and on its right
  bool single_word = false;  // only where no word character touches it
  bool normalized = false;   // looked for in the normalized text
};

// Finds them from left to right, the longest where several begin at one place (tokenizers: added_vocabulary.rs).
class AddedTokenFinder {
 public:
  struct Segment {
    std::string_view text;
    int32_t id;  // of the token; -1: text between tokens
  };
  void add(const AddedToken& token, std::string_view pattern);
  std::vector<Segment> split(std::string_view text) const;

 private:
  // The longest token that begins at offset: its index in tokens_, or -1.
  int32_t longest_at(std::string_view text, size_t offset) const;

  struct Pattern {
    AddedToken token;
    size_t length;
  };
  std::vector<Pattern> tokens_;
  std::array<bool, 256> begins_{};                  // is some token's first byte
  std::unordered_map<uint64_t, int32_t> children_;  // (node, byte) -> node; node 0 is the root
  std::vector<int32_t> token_of_node_{-1};
};

}  // namespace trimeter
