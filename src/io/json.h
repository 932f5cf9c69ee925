// JSON of a file that is not trusted. Includes only the forward declaration of the parser's type.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace trimeter {

// Throws Error(kBadFile) naming `path` and the byte for what is not JSON or not UTF-8, for a key given twice in one
// object (parsers disagree on which of the two counts), and for nesting that would exhaust a recursive reader's stack.
nlohmann::json parse_json(std::string_view text, const std::string& path);

// A name or a value out of such a file, fit for a one-line message: ASCII, control characters escaped, cut if long.
std::string printable(std::string_view text);
std::string printable_json(const nlohmann::json& value);

}  // namespace trimeter
