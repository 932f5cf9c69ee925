#include "text/tokenizer_field.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"

namespace trimeter {

using Json = nlohmann::json;

Field::Field(const Json& value, const std::string& path, std::string name)
    : value_(&value), path_(&path), name_(std::move(name)) {}

bool Field::is_null() const { return value_->is_null(); }
bool Field::is_string() const { return value_->is_string(); }
bool Field::is_array() const { return value_->is_array(); }
bool Field::is_object() const { return value_->is_object(); }

void Field::wanted(const std::string& what) const {
  throw Error(Errc::kBadFile, "{}: {}wanted {}, got {}", *path_, name_.empty() ? "" : name_ + ": ", what,
              printable_json(*value_));
}

void Field::unsupported(const std::string& what) const {
  throw Error(Errc::kUnsupported, "{}: {}: {} is not supported", *path_, name_, what);
}

Field Field::operator[](const char* key) const {
  static const Json null;
  if (!is_object()) wanted("an object");
  const auto found = value_->find(key);
  return {found == value_->end() ? null : *found, *path_, name_.empty() ? key : name_ + "." + key};
}

void Field::each_element(const std::function<void(const Field&)>& f) const {
  if (!is_array()) wanted("an array");
  for (size_t i = 0; i < value_->size(); ++i) f(Field((*value_)[i], *path_, fmt::format("{}[{}]", name_, i)));
}

void Field::each_member(const std::function<void(const std::string&, const Field&)>& f) const {
  if (!is_object()) wanted("an object");
  for (const auto& [key, value] : value_->items()) f(key, Field(value, *path_, name_ + "." + key));
}

const std::string& Field::string() const {
  if (!is_string()) wanted("a string");
  return value_->get_ref<const std::string&>();
}

bool Field::boolean(bool absent) const {
  if (is_null()) return absent;
  if (!value_->is_boolean()) wanted("true or false");
  return value_->get<bool>();
}

double Field::number() const {
  if (!value_->is_number()) wanted("a number");
  return value_->get<double>();
}

int32_t Field::integer(int64_t low, int64_t high, const std::string& what) const {
  if (!value_->is_number_integer() || *value_ < low || *value_ > high)
    wanted(fmt::format("{} from {} to {}", what, low, high));
  return value_->get<int32_t>();
}

int32_t Field::id() const { return integer(0, kMaxTokenId - 1, "a token id"); }

std::string Field::type() const {
  if (is_null()) return "null";
  const Field type = (*this)["type"];
  return type.is_string() ? type.string() : std::string();
}

}  // namespace trimeter
