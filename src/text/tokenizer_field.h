// One value of a tokenizer's JSON, with the words to complain about it.
#pragma once
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace trimeter {

constexpr int64_t kMaxTokenId = int64_t{1} << 22;  // tables are as long as the largest id; no vocabulary comes near

class Field {
 public:
  // value and path outlive it. name: "model.vocab"; empty for the whole file.
  Field(const nlohmann::json& value, const std::string& path, std::string name);

  bool is_null() const;
  bool is_string() const;
  bool is_array() const;
  bool is_object() const;

  [[noreturn]] void wanted(const std::string& what) const;
  [[noreturn]] void unsupported(const std::string& what) const;

  // A member that is absent reads as null.
  Field operator[](const char* key) const;
  void each_element(const std::function<void(const Field& element)>& f) const;
  void each_member(const std::function<void(const std::string& key, const Field& value)>& f) const;

  const std::string& string() const;
  bool boolean(bool absent) const;
  double number() const;
  int32_t integer(int64_t low, int64_t high, const std::string& what) const;
  int32_t id() const;
  std::string type() const;  // the member "type"; empty if there is no such string, "null" for a null

 private:
  const nlohmann::json* value_;
  const std::string* path_;
  std::string name_;
};

}  // namespace trimeter
