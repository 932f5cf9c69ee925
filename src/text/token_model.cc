#include "text/token_model.h"

#include <fmt/format.h>

#include <charconv>

namespace trimeter {

std::string byte_token(uint8_t byte) { return fmt::format("<0x{:02X}>", byte); }

int byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  uint8_t byte = 0;
  const char *begin = token.data() + 3, *end = begin + 2;
  const auto [last, error] = std::from_chars(begin, end, byte, 16);
  return error == std::errc() && last == end ? byte : -1;
}

}  // namespace trimeter
