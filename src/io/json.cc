#include "io/json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <vector>

#include "base/error.h"

namespace trimeter {
namespace {

using nlohmann::json;

constexpr int kDeepest = 128;  // serde_json's limit, which upstream's readers have
constexpr size_t kLongestInMessage = 120;

}  // namespace

json parse_json(std::string_view text, const std::string& path) {
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open, outermost first
  const auto refuse_duplicates = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > kDeepest)
      throw Error(Errc::kBadFile, "{}: nesting: wanted at most {} levels, got more", path, kDeepest);
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        throw Error(Errc::kBadFile, "{}: duplicate key '{}': wanted each key once in an object", path, printable(key));
    }
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), refuse_duplicates);
  } catch (const json::parse_error& e) {
    throw Error(Errc::kBadFile, "{}: not valid JSON (UTF-8) at byte {} of {}", path, e.byte, text.size());
  } catch (const json::out_of_range&) {
    throw Error(Errc::kBadFile, "{}: not valid JSON: a number is too large for a double", path);
  }
}

std::string printable(std::string_view text) {
  const std::string quoted =
      json(std::string(text.substr(0, kLongestInMessage))).dump(-1, ' ', true, json::error_handler_t::replace);
  return quoted.substr(1, quoted.size() - 2) + (text.size() > kLongestInMessage ? "..." : "");
}

std::string printable_json(const json& value) {
  const std::string text = value.dump(-1, ' ', true);
  return text.size() > kLongestInMessage ? text.substr(0, kLongestInMessage) + "..." : text;
}

}  // namespace trimeter
