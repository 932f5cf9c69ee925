// GPT-2's alphabet: each byte stands as one printable character in tokenizer.json, so that a token is readable text.
// Source: bytes_to_unicode() of github.com/openai/gpt-2, encoder.py.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace trimeter {

// The bytes that a token of valid UTF-8 stands for; nothing if it has a character outside the alphabet.
std::optional<std::string> bytes_of_alphabet(std::string_view token);
std::string alphabet_of_bytes(std::string_view bytes);

}  // namespace trimeter
