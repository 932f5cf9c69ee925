// The fields of one JSON object out of a file that is not trusted: typed and checked. null counts as absent, as
// transformers has it.
#pragma once
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trimeter {

struct NumberRange {
  double low, high;
  bool low_is_open = false;
  bool has(double x) const;
  std::string text() const;  // "a number in (0, 1]"
};

class Fields {
 public:
  // `where` opens every message: the path, and the field that holds the object. Throws Error(kBadFile) if `object` is
  // none. Keeps a reference to it.
  Fields(const nlohmann::json& object, std::string where);

  // Said with a field that is missing: the reason may be another architecture's names.
  void set_hint(std::string hint) { hint_ = std::move(hint); }

  // Each throws Error(kBadFile) with the field, wanted and got; optional ones are empty if there is no such field.
  const nlohmann::json* find(const char* key) const;
  std::optional<int64_t> integer(const char* key, int64_t low, int64_t high) const;
  int64_t required_integer(const char* key, int64_t low, int64_t high) const;
  std::optional<int32_t> token_id(const char* key) const;
  std::vector<int32_t> token_ids(const char* key) const;  // one, or a list
  std::optional<double> number(const char* key, const NumberRange& range) const;
  double required_number(const char* key, const NumberRange& range) const;
  std::optional<bool> boolean(const char* key) const;
  std::optional<std::string> string(const char* key) const;
  std::string required_string(const char* key) const;
  std::vector<std::string> strings(const char* key) const;  // a list
  std::optional<Fields> object(const char* key) const;

  [[noreturn]] void fail(const char* key, std::string_view wanted, const nlohmann::json& got) const;
  [[noreturn]] void missing(const char* key, std::string_view wanted) const;
  // Well formed, but not something this program has: Error(kUnsupported).
  [[noreturn]] void unsupported(const char* key, std::string_view wanted, const nlohmann::json& got) const;
  const std::string& where() const { return where_; }

 private:
  int64_t checked_integer(const char* key, const nlohmann::json& value, int64_t low, int64_t high) const;

  const nlohmann::json* object_;
  std::string where_, hint_;
};

}  // namespace trimeter
