#include "report/text.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <utility>

namespace trimeter {
namespace {

struct CodePoint {
  uint32_t value;
  size_t n_bytes;
};

// The code point at text[at]; a byte that starts none counts as one by itself.
CodePoint code_point(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0}; };
  const auto follows = [&](size_t n) {
    for (size_t i = 1; i <= n; ++i)
      if ((byte(at + i) & 0xC0) != 0x80) return false;
    return true;
  };
  const uint32_t first = byte(at);
  if (first >= 0xC2 && first < 0xE0 && follows(1)) return {(first & 0x1F) << 6 | (byte(at + 1) & 0x3Fu), 2};
  if (first >= 0xE0 && first < 0xF0 && follows(2))
    return {(first & 0x0F) << 12 | (byte(at + 1) & 0x3Fu) << 6 | (byte(at + 2) & 0x3Fu), 3};
  if (first >= 0xF0 && first < 0xF5 && follows(3))
    return {(first & 0x07) << 18 | (byte(at + 1) & 0x3Fu) << 12 | (byte(at + 2) & 0x3Fu) << 6 | (byte(at + 3) & 0x3Fu),
            4};
  return {first, 1};
}

int columns_of(uint32_t c) {
  using Range = std::pair<uint32_t, uint32_t>;
  static constexpr std::array<Range, 5> kNone{
      {{0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}}};
  static constexpr std::array<Range, 10> kWide{{{0x1100, 0x115F},
                                                {0x231A, 0x231B},
                                                {0x2E80, 0xA4CF},
                                                {0xA960, 0xA97F},
                                                {0xAC00, 0xD7A3},
                                                {0xF900, 0xFAFF},
                                                {0xFE30, 0xFE6F},
                                                {0xFF00, 0xFF60},
                                                {0x1F000, 0x1FAFF},
                                                {0x20000, 0x3FFFD}}};
  for (const auto& [low, high] : kNone)
    if (c >= low && c <= high) return 0;
  for (const auto& [low, high] : kWide)
    if (c >= low && c <= high) return 2;
  return 1;
}

// Bytes of the longest prefix that takes at most `width` columns.
size_t prefix_bytes(std::string_view text, int width) {
  size_t at = 0;
  while (at < text.size()) {
    const CodePoint c = code_point(text, at);
    width -= columns_of(c.value);
    if (width < 0) break;
    at += c.n_bytes;
  }
  return at;
}

}  // namespace

int display_width(std::string_view text) {
  int width = 0;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text, at);
    width += columns_of(c.value);
    at += c.n_bytes;
  }
  return width;
}

std::string shortened(std::string_view text, int width) {
  if (display_width(text) <= width) return std::string(text);
  return std::string(text.substr(0, prefix_bytes(text, width - 3))) + "...";
}

std::vector<std::string> wrapped(std::string_view text, int width) {
  std::vector<std::string> lines;
  while (display_width(text) > width) {
    size_t end = prefix_bytes(text, width);
    const size_t space = text.substr(0, end + 1).rfind(' ');  // a space just behind the line is a good place, too
    if (space != std::string_view::npos && space > 0) end = space;
    if (end == 0) end = code_point(text, 0).n_bytes;
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end);
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  }
  lines.emplace_back(text);
  return lines;
}

std::string one_line(std::string_view text) {
  std::string line;
  for (size_t at = 0; at < text.size();) {
    const CodePoint c = code_point(text, at);
    const bool control = c.value < 0x20 || (c.value >= 0x7F && c.value < 0xA0);
    const bool breaks_lines = c.value == 0x2028 || c.value == 0x2029;
    const bool turns_text = (c.value >= 0x202A && c.value <= 0x202E) || (c.value >= 0x2066 && c.value <= 0x2069);
    const bool broken = c.n_bytes == 1 && c.value >= 0x80;
    if (c.value == '\n')
      line += "\\n";
    else if (c.value == '\t')
      line += "\\t";
    else if (control || broken)
      line += fmt::format("\\x{:02x}", c.value);
    else if (breaks_lines || turns_text)
      line += fmt::format("\\u{:04x}", c.value);
    else
      line += text.substr(at, c.n_bytes);
    at += c.n_bytes;
  }
  return line;
}

std::string rate_text(double per_s) {
  return per_s < 99.95 ? fmt::format("{:.1f}", per_s) : with_commas(std::llround(per_s));
}

std::string bytes_text(int64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; std::abs(value) >= 1023.95 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string time_text(double seconds) {
  if (seconds >= 1) return fmt::format("{:.2f} s", seconds);
  if (seconds >= 1e-3) return fmt::format("{:.{}f} ms", seconds * 1e3, seconds >= 0.1 ? 0 : seconds >= 0.01 ? 1 : 2);
  return fmt::format("{:.0f} us", seconds * 1e6);
}

std::string significant(double value, int digits) {
  if (value == 0) return "0";
  const int magnitude = static_cast<int>(std::floor(std::log10(std::abs(value))));
  const int decimals = digits - 1 - magnitude;
  if (decimals <= 0 || magnitude < -4) return fmt::format("{:.{}g}", value, digits);
  return fmt::format("{:.{}f}", value, decimals);  // zeros at the end count: "0.10"
}

std::string percent(double fraction) { return fmt::format("{:.1f}%", 100 * fraction); }

}  // namespace trimeter
