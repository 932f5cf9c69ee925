#include "text/byte_level.h"

#include <array>

#include "text/utf8.h"

namespace trimeter {
namespace {

constexpr int kAlphabetEnd = 256 + 68;  // 188 bytes stand for themselves, the other 68 for U+0100 and up

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> code_of_byte = [] {
  std::array<char32_t, 256> table{};
  char32_t next = 256;
  for (int byte = 0; byte < 256; ++byte) table[byte] = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
  return table;
}();

constexpr std::array<int, kAlphabetEnd> byte_of_code = [] {
  std::array<int, kAlphabetEnd> table{};
  table.fill(-1);
  for (int byte = 0; byte < 256; ++byte) table[code_of_byte[byte]] = byte;
  return table;
}();

}  // namespace

std::optional<std::string> bytes_of_alphabet(std::string_view token) {
  std::string bytes;
  for (size_t offset = 0; offset < token.size();) {
    const Utf8Step step = utf8_step(token, offset);
    if (step.kind != Utf8Kind::kCharacter || step.code >= kAlphabetEnd || byte_of_code[step.code] < 0) return {};
    bytes += static_cast<char>(byte_of_code[step.code]);
    offset += static_cast<size_t>(step.length);
  }
  return bytes;
}

std::string alphabet_of_bytes(std::string_view bytes) {
  std::string token;
  for (const char c : bytes) append_utf8(token, code_of_byte[static_cast<uint8_t>(c)]);
  return token;
}

}  // namespace trimeter
