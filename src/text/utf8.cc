#include "text/utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "base/error.h"
#include "text/tokenizer.h"

namespace trimeter {
namespace {

// Length of a sequence by its first byte and the range its second byte must lie in (Unicode 15, table 3-7): this is
// where overlong forms, surrogates and codes past U+10FFFF are kept out.
struct Lead {
  int length;
  uint8_t second_low, second_high;
};

Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Appends what is whole in bytes to out and returns how many bytes were used; a truncated tail is left.
size_t take_whole(std::string_view bytes, std::string& out) {
  size_t offset = 0;
  while (offset < bytes.size()) {
    const Utf8Step step = utf8_step(bytes, offset);
    if (step.kind == Utf8Kind::kTruncated) break;
    out += step.kind == Utf8Kind::kInvalid ? kReplacementCharacter
                                           : bytes.substr(offset, static_cast<size_t>(step.length));
    offset += static_cast<size_t>(step.length);
  }
  return offset;
}

}  // namespace

Utf8Step utf8_step(std::string_view text, size_t offset) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[offset + i]); };
  const Lead lead = lead_of(at(0));
  if (lead.length == 0) return {Utf8Kind::kInvalid, 1, 0};
  if (lead.length == 1) return {Utf8Kind::kCharacter, 1, at(0)};
  char32_t code = at(0) & (0x7Fu >> lead.length);
  for (int i = 1; i < lead.length; ++i) {
    if (offset + static_cast<size_t>(i) == text.size()) return {Utf8Kind::kTruncated, i, 0};
    const uint8_t byte = at(static_cast<size_t>(i));
    const uint8_t low = i == 1 ? lead.second_low : 0x80, high = i == 1 ? lead.second_high : 0xBF;
    if (byte < low || byte > high) return {Utf8Kind::kInvalid, i, 0};
    code = code << 6 | (byte & 0x3Fu);
  }
  return {Utf8Kind::kCharacter, lead.length, code};
}

void require_utf8(std::string_view text) {
  for (size_t offset = 0; offset < text.size();) {
    const Utf8Step step = utf8_step(text, offset);
    if (step.kind != Utf8Kind::kCharacter)
      throw Error(Errc::kBadArgument, "text is not UTF-8: byte 0x{:02x} at offset {}",
                  static_cast<uint8_t>(text[offset]), offset);
    offset += static_cast<size_t>(step.length);
  }
}

std::string replace_invalid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  if (take_whole(bytes, out) < bytes.size()) out += kReplacementCharacter;
  return out;
}

void append_utf8(std::string& out, char32_t code) {
  uint8_t bytes[4];
  const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
}

bool is_utf8(std::string_view bytes) {
  size_t offset = 0;
  while (offset < bytes.size()) {
    const Utf8Step step = utf8_step(bytes, offset);
    if (step.kind != Utf8Kind::kCharacter) return false;
    offset += static_cast<size_t>(step.length);
  }
  return true;
}

size_t start_of_character_before(std::string_view text, size_t offset) {
  do --offset;
  while (offset > 0 && (static_cast<uint8_t>(text[offset]) & 0xC0) == 0x80);
  return offset;
}

size_t end_of_grapheme(std::string_view text, size_t offset) {
  utf8proc_int32_t state = 0;
  Utf8Step step = utf8_step(text, offset);
  for (;;) {
    offset += static_cast<size_t>(step.length);
    if (offset == text.size()) return offset;
    const Utf8Step next = utf8_step(text, offset);
    if (utf8proc_grapheme_break_stateful(static_cast<utf8proc_int32_t>(step.code),
                                         static_cast<utf8proc_int32_t>(next.code), &state))
      return offset;
    step = next;
  }
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  std::string out;
  size_t covered = 0;
  for (size_t found = text.find(from); found != std::string::npos; found = text.find(from, covered)) {
    out.append(text, covered, found - covered);
    out += to;
    covered = found + from.size();
  }
  if (covered > 0) text = out.append(text, covered);
}

bool is_white_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
         code == 0x3000;
}

bool is_word_character(char32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      break;
  }
  const bool circled_letter = (code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
                              (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189);
  return circled_letter || code == 0x200C || code == 0x200D;
}

std::string normalized(std::string_view text, UnicodeForm form) {
  if (std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; }))
    return std::string(text);
  const bool composed = form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc;
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  const int options =
      UTF8PROC_STABLE | (composed ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compatible ? UTF8PROC_COMPAT : 0);
  utf8proc_uint8_t* raw = nullptr;
  const utf8proc_ssize_t n =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()), static_cast<utf8proc_ssize_t>(text.size()),
                   &raw, static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(raw, &std::free);
  if (n < 0)
    throw Error(Errc::kBadArgument, "text of {} bytes has no normalization form: {}", text.size(), utf8proc_errmsg(n));
  return {reinterpret_cast<const char*>(raw), static_cast<size_t>(n)};
}

std::string Utf8Stream::push(std::string_view bytes) {
  pending_ += bytes;
  std::string out;
  pending_.erase(0, take_whole(pending_, out));
  return out;
}

std::string Utf8Stream::finish() {
  const bool cut_short = !pending_.empty();
  pending_.clear();
  return cut_short ? std::string(kReplacementCharacter) : std::string();
}

}  // namespace trimeter
