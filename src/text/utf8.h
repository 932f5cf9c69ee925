// UTF-8, one character at a time, with the replacement rule that Python, Rust and the Unicode standard share.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace trimeter {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

enum class Utf8Kind {
  kCharacter,  // `length` bytes are one character, `code` is its code point
  kInvalid,  // `length` bytes can never begin a character: a maximal subpart (Unicode 15, section 3.9, U+FFFD practice)
  kTruncated,  // all that is left is the beginning of a character
};

struct Utf8Step {
  Utf8Kind kind;
  int length;  // bytes, at least 1
  char32_t code;
};

// What text[offset..] begins with; offset < text.size().
Utf8Step utf8_step(std::string_view text, size_t offset);
// Throws Error(kBadArgument) with the offset of the first byte that is not UTF-8.
void require_utf8(std::string_view text);
// Every maximal subpart of an ill-formed sequence becomes one U+FFFD: bytes.decode("utf-8", errors="replace").
std::string replace_invalid_utf8(std::string_view bytes);
bool is_utf8(std::string_view bytes);
void append_utf8(std::string& out, char32_t code);
// Where the last character of text[0, offset) begins; offset > 0.
size_t start_of_character_before(std::string_view text, size_t offset);
// Where the extended grapheme cluster (Unicode annex 29) that begins at offset ends.
size_t end_of_grapheme(std::string_view text, size_t offset);
// Every occurrence of `from`, which is not empty, from left to right.
void replace_all(std::string& text, std::string_view from, std::string_view to);

// Unicode White_Space.
bool is_white_space(char32_t code);
// What Rust's regex calls \w: Alphabetic, M, Nd, Pc, Join_Control.
bool is_word_character(char32_t code);

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };
// The Unicode normalization form of valid UTF-8.
std::string normalized(std::string_view text, UnicodeForm form);

}  // namespace trimeter
