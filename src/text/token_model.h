// What makes tokens of a word: the model of a tokenizer.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace trimeter {

// Looks up a std::string key by a string_view without making a string of it.
struct StringHash {
  using is_transparent = void;
  size_t operator()(std::string_view s) const { return std::hash<std::string_view>{}(s); }
};
using TokenIds = std::unordered_map<std::string, int32_t, StringHash, std::equal_to<>>;

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  // Appends the tokens of `word`, valid UTF-8. Returns the steps it took: each model says how many there can be.
  virtual int64_t encode(std::string_view word, std::vector<int32_t>& out) const = 0;
};

// "<0x0A>": the token that stands for a byte where no token has its character.
std::string byte_token(uint8_t byte);
// The byte that such a token stands for, -1 for any other text. Either case of the hexadecimal digits, as tokenizers.
int byte_of_token(std::string_view token);

}  // namespace trimeter
