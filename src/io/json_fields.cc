#include "io/json_fields.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"

namespace trimeter {

using nlohmann::json;

constexpr int64_t kMaxTokenId = (int64_t{1} << 31) - 1;

bool NumberRange::has(double x) const { return std::isfinite(x) && x <= high && (low_is_open ? x > low : x >= low); }

std::string NumberRange::text() const {
  return fmt::format("a number in {}{}, {}]", low_is_open ? '(' : '[', low, high);
}

Fields::Fields(const json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) throw Error(Errc::kBadFile, "{}: wanted an object, got {}", where_, printable_json(object));
}

const json* Fields::find(const char* key) const {
  const auto at = object_->find(key);
  return at == object_->end() || at->is_null() ? nullptr : &*at;
}

std::optional<int64_t> Fields::integer(const char* key, int64_t low, int64_t high) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return checked_integer(key, *value, low, high);
}

int64_t Fields::required_integer(const char* key, int64_t low, int64_t high) const {
  const std::optional<int64_t> value = integer(key, low, high);
  if (!value) missing(key, fmt::format("an integer in [{}, {}]", low, high));
  return *value;
}

std::optional<int32_t> Fields::token_id(const char* key) const {
  const std::optional<int64_t> id = integer(key, 0, kMaxTokenId);
  return id ? std::optional(static_cast<int32_t>(*id)) : std::nullopt;
}

std::vector<int32_t> Fields::token_ids(const char* key) const {
  const json* value = find(key);
  std::vector<int32_t> ids;
  if (value == nullptr) return ids;
  for (const json& id : value->is_array() ? *value : json::array({*value}))
    ids.push_back(static_cast<int32_t>(checked_integer(key, id, 0, kMaxTokenId)));
  return ids;
}

std::optional<double> Fields::number(const char* key, const NumberRange& range) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !range.has(value->get<double>())) fail(key, range.text(), *value);
  return value->get<double>();
}

double Fields::required_number(const char* key, const NumberRange& range) const {
  const std::optional<double> value = number(key, range);
  if (!value) missing(key, range.text());
  return *value;
}

std::optional<bool> Fields::boolean(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) fail(key, "true or false", *value);
  return value->get<bool>();
}

std::optional<std::string> Fields::string(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) fail(key, "a string", *value);
  return value->get<std::string>();
}

std::string Fields::required_string(const char* key) const {
  const std::optional<std::string> value = string(key);
  if (!value) missing(key, "a string");
  return *value;
}

std::vector<std::string> Fields::strings(const char* key) const {
  const json* list = find(key);
  std::vector<std::string> values;
  if (list == nullptr) return values;
  if (!list->is_array()) fail(key, "a list of strings", *list);
  for (const json& value : *list) {
    if (!value.is_string()) fail(key, "a list of strings", value);
    values.push_back(value.get<std::string>());
  }
  return values;
}

std::optional<Fields> Fields::object(const char* key) const {
  const json* value = find(key);
  if (value == nullptr) return std::nullopt;
  return Fields(*value, fmt::format("{}: field '{}'", where_, key));
}

void Fields::fail(const char* key, std::string_view wanted, const json& got) const {
  throw Error(Errc::kBadFile, "{}: field '{}': wanted {}, got {}", where_, key, wanted, printable_json(got));
}

void Fields::missing(const char* key, std::string_view wanted) const {
  throw Error(Errc::kBadFile, "{}: field '{}': wanted {}, got none{}", where_, key, wanted, hint_);
}

void Fields::unsupported(const char* key, std::string_view wanted, const json& got) const {
  throw Error(Errc::kUnsupported, "{}: field '{}': wanted {}, got {}", where_, key, wanted, printable_json(got));
}

int64_t Fields::checked_integer(const char* key, const json& value, int64_t low, int64_t high) const {
  const bool fits = value.is_number_unsigned() ? value.get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX)
                                               : value.is_number_integer();
  if (!fits || value.get<int64_t>() < low || value.get<int64_t>() > high)
    fail(key, fmt::format("an integer in [{}, {}]", low, high), value);
  return value.get<int64_t>();
}

}  // namespace trimeter
