// Template text to tokens, with Jinja's white-space control as transformers sets it: trim_blocks and lstrip_blocks.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace trimeter::jinja {

enum class TokenType {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenType type;
  std::string text;  // of a string: its value; of data: what is left after white-space control
  int line;
};

// Ends with a kEnd token. Throws Error(kBadFile) with the line. source is valid UTF-8.
std::vector<Token> tokenize(std::string_view source);

// What Python's str.isspace() holds for, and \s of its re.
bool is_python_space(char32_t code);

}  // namespace trimeter::jinja
