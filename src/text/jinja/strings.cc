// What Python's string methods do, on UTF-8.
#include <utf8proc.h>

#include <algorithm>

#include "text/jinja/builtins.h"
#include "text/jinja/lexer.h"
#include "text/utf8.h"

namespace trimeter::jinja {

std::string_view strip(std::string_view text, const std::string* set, bool left, bool right) {
  const std::vector<std::string_view> stripped = set ? characters_of(*set) : std::vector<std::string_view>();
  const auto goes = [&](std::string_view c) {
    return set ? std::find(stripped.begin(), stripped.end(), c) != stripped.end()
               : is_python_space(utf8_step(c, 0).code);
  };
  while (left && !text.empty()) {
    const auto n = static_cast<size_t>(utf8_step(text, 0).length);
    if (!goes(text.substr(0, n))) break;
    text.remove_prefix(n);
  }
  while (right && !text.empty()) {
    size_t start = text.size() - 1;
    while ((static_cast<uint8_t>(text[start]) & 0xC0) == 0x80) --start;
    if (!goes(text.substr(start))) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to, int64_t limit,
                        Budget& budget) {
  std::string out;
  size_t at = 0;
  int64_t n = 0;
  const auto more = [&] { return limit < 0 || n < limit; };
  if (from.empty()) {  // before every character, and at the end
    budget.spend_elements(text.size());
    for (const std::string_view c : characters_of(text)) {
      if (more()) {
        budget.spend(to.size());
        out += to;
        ++n;
      }
      out += c;
    }
    if (more()) out += to;
    return out;
  }
  while (more()) {
    const size_t found = text.find(from, at);
    if (found == std::string_view::npos) break;
    budget.spend(found - at + to.size());
    out.append(text, at, found - at);
    out += to;
    at = found + from.size();
    ++n;
  }
  return out.append(text, at);
}

std::string with_case(std::string_view text, bool upper) {
  std::string out;
  for (size_t offset = 0; offset < text.size();) {
    const Utf8Step step = utf8_step(text, offset);
    const auto code = static_cast<utf8proc_int32_t>(step.code);
    append_utf8(out, static_cast<char32_t>(upper ? utf8proc_toupper(code) : utf8proc_tolower(code)));
    offset += static_cast<size_t>(step.length);
  }
  return out;
}

}  // namespace trimeter::jinja
