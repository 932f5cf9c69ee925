#include "text/charsmap.h"

#include <cstring>

#include "base/error.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

constexpr size_t kWholeGraphemeBytes = 6;  // below this, a grapheme is looked up whole

bool has_value(uint32_t unit) { return (unit >> 8 & 1) != 0; }
uint32_t label(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & 1u << 9) >> 6); }
uint32_t value(uint32_t unit) { return unit & ~(1u << 31); }

uint32_t u32_at(std::string_view bytes, size_t at) {
  uint32_t x = 0;
  for (size_t i = 0; i < 4; ++i) x |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  return x;
}

}  // namespace

Charsmap::Charsmap(std::string_view bytes, const std::string& where) {
  const size_t n_trie = bytes.size() < 4 ? 0 : u32_at(bytes, 0);
  if (bytes.size() < 4 || n_trie % 4 != 0 || n_trie > bytes.size() - 4)
    throw Error(Errc::kBadFile, "{}: precompiled_charsmap: wanted a trie and its length, got {} of {} bytes", where,
                n_trie, bytes.size());
  for (size_t i = 0; i < n_trie; i += 4) units_.push_back(u32_at(bytes, 4 + i));
  replacements_ = bytes.substr(4 + n_trie);
}

// A trie that points outside itself matches nothing there.
std::optional<std::string_view> Charsmap::replacement(std::string_view chunk) const {
  if (units_.empty()) return {};
  size_t node = offset(units_[0]);
  for (const char c : chunk) {
    const auto byte = static_cast<uint8_t>(c);
    node ^= byte;
    if (byte == 0 || node >= units_.size() || label(units_[node]) != byte) return {};
    const uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_value(unit)) continue;
    if (node >= units_.size() || value(units_[node]) > replacements_.size()) return {};
    const char* text = replacements_.c_str() + value(units_[node]);
    return std::string_view(text, std::strlen(text));
  }
  return {};
}

std::string Charsmap::apply(std::string_view text) const {
  std::string out;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = end_of_grapheme(text, begin);
    const std::string_view grapheme = text.substr(begin, end - begin);
    begin = end;
    if (grapheme.size() < kWholeGraphemeBytes)
      if (const auto whole = replacement(grapheme)) {
        out += *whole;
        continue;
      }
    for (size_t i = 0; i < grapheme.size();) {
      const std::string_view character = grapheme.substr(i, static_cast<size_t>(utf8_step(grapheme, i).length));
      out += replacement(character).value_or(character);
      i += character.size();
    }
  }
  return out;
}

}  // namespace trimeter
