#include <limits>

#include "base/error.h"
#include "io/gguf.h"
#include "io/json.h"

namespace trimeter {
namespace {

constexpr std::string_view kTypeNames[] = {"u8",   "i8",       "u16",      "i16", "u32", "i32", "f32",
                                           "bool", "a string", "an array", "u64", "i64", "f64"};
static_assert(std::variant_size_v<GgufValue> == std::size(kTypeNames));

template <class T>
constexpr bool is_integer = std::is_integral_v<T> && !std::is_same_v<T, bool>;

// An integer of any width that an int64_t holds.
template <class T>
std::optional<int64_t> integer_of(T value) {
  if constexpr (std::is_same_v<T, uint64_t>)
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
  return static_cast<int64_t>(value);
}

template <class T>
struct ElementOf {
  using Type = void;
};
template <class T>
struct ElementOf<std::vector<T>> {
  using Type = T;
};

}  // namespace

void GgufMetadata::fail(const std::string& key, std::string_view wanted, const GgufValue* got) const {
  throw Error(Errc::kBadFile, "{}: metadata '{}': wanted {}, got {}", path_, printable(key), wanted,
              got == nullptr ? "none" : kTypeNames[got->index()]);
}

template <class T>
const T* GgufMetadata::find(const std::string& key, std::string_view wanted) const {
  const auto at = pairs_.find(key);
  if (at == pairs_.end()) return nullptr;
  if (const T* value = std::get_if<T>(&at->second)) return value;
  fail(key, wanted, &at->second);
}

std::optional<int64_t> GgufMetadata::find_integer(const std::string& key) const {
  const auto at = pairs_.find(key);
  if (at == pairs_.end()) return {};
  const auto value = std::visit(
      [](const auto& v) -> std::optional<int64_t> {
        if constexpr (is_integer<std::decay_t<decltype(v)>>) return integer_of(v);
        return {};
      },
      at->second);
  if (!value) fail(key, "an integer below 2^63", &at->second);
  return value;
}

std::optional<double> GgufMetadata::find_number(const std::string& key) const {
  const auto at = pairs_.find(key);
  if (at == pairs_.end()) return {};
  const auto value = std::visit(
      [](const auto& v) -> std::optional<double> {
        using T = std::decay_t<decltype(v)>;
        if constexpr (is_integer<T> || std::is_floating_point_v<T>) return static_cast<double>(v);
        return {};
      },
      at->second);
  if (!value) fail(key, "a number", &at->second);
  return value;
}

std::optional<bool> GgufMetadata::find_flag(const std::string& key) const {
  const bool* value = find<bool>(key, "bool");
  return value == nullptr ? std::nullopt : std::optional<bool>(*value);
}

const std::string* GgufMetadata::find_text(const std::string& key) const { return find<std::string>(key, "a string"); }

const std::vector<std::string>* GgufMetadata::find_texts(const std::string& key) const {
  const GgufArray* array = find<GgufArray>(key, "an array of strings");
  if (array == nullptr) return nullptr;
  const auto* texts = std::get_if<std::vector<std::string>>(&array->elements);
  if (texts == nullptr) fail(key, "an array of strings", &pairs_.at(key));
  return texts;
}

std::optional<std::vector<int64_t>> GgufMetadata::find_integers(const std::string& key) const {
  const GgufArray* array = find<GgufArray>(key, "an array of integers");
  if (array == nullptr) return {};
  return std::visit(
      [&](const auto& elements) -> std::optional<std::vector<int64_t>> {
        std::vector<int64_t> values;
        if constexpr (is_integer<typename ElementOf<std::decay_t<decltype(elements)>>::Type>) {
          for (const auto element : elements) {
            const auto value = integer_of(element);
            if (!value) fail(key, "integers below 2^63", &pairs_.at(key));
            values.push_back(*value);
          }
          return values;
        }
        fail(key, "an array of integers", &pairs_.at(key));
      },
      array->elements);
}

std::optional<std::vector<float>> GgufMetadata::find_numbers(const std::string& key) const {
  const GgufArray* array = find<GgufArray>(key, "an array of f32");
  if (array == nullptr) return {};
  const auto* numbers = std::get_if<std::vector<float>>(&array->elements);
  if (numbers == nullptr) fail(key, "an array of f32", &pairs_.at(key));
  return *numbers;
}

int64_t GgufMetadata::integer(const std::string& key) const {
  const auto value = find_integer(key);
  if (!value) fail(key, "an integer", nullptr);
  return *value;
}

double GgufMetadata::number(const std::string& key) const {
  const auto value = find_number(key);
  if (!value) fail(key, "a number", nullptr);
  return *value;
}

const std::string& GgufMetadata::text(const std::string& key) const {
  const std::string* value = find_text(key);
  if (value == nullptr) fail(key, "a string", nullptr);
  return *value;
}

}  // namespace trimeter
