// The values a template computes with. All are immutable, as in transformers' sandbox, except namespaces.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace trimeter::jinja {

class Value;
using Attributes = std::map<std::string, Value, std::less<>>;

struct None {};
// What a name or an attribute that isn't there evaluates to: false, empty, printed as nothing; anything else that is
// done with it is an error, for which `why` has the words.
struct Undefined {
  std::shared_ptr<const std::string> why;
};
struct List;
struct Dict;
// A namespace() or the variable `loop`; owned by the evaluation, so that one may hold itself.
struct Object {
  enum class Kind { kNamespace, kLoop } kind;
  Attributes* attributes;
};
// A global function, or a method with the value it is of.
struct Function {
  std::string name;
  std::shared_ptr<const Value> self;
};

class Value {
 public:
  using Variant = std::variant<None, Undefined, bool, int64_t, double, std::shared_ptr<const std::string>,
                               std::shared_ptr<const List>, std::shared_ptr<const Dict>, Object, Function>;
  Value() = default;
  explicit Value(Variant variant) : variant_(std::move(variant)) {}
  static Value of(std::string text) { return Value(std::make_shared<const std::string>(std::move(text))); }
  static Value of(const char*) = delete;  // which would be a bool
  static Value of(bool b) { return Value(Variant(b)); }
  static Value of(int64_t i) { return Value(Variant(i)); }
  static Value of(double d) { return Value(Variant(d)); }
  // Throw Error(kBadFile) if they nest deeper than kMaxDepth, for everything that walks a value recurses.
  static Value list(std::vector<Value> items, bool is_tuple = false);
  static Value dict(std::vector<std::pair<std::string, Value>> entries);
  static Value undefined(std::string why);

  template <class T>
  const T* as() const {
    return std::get_if<T>(&variant_);
  }
  const std::string* string() const;
  const List* list() const;
  const Dict* dict() const;
  bool is_none() const { return as<None>() != nullptr; }
  bool is_undefined() const { return as<Undefined>() != nullptr; }
  bool is_number() const { return as<bool>() || as<int64_t>() || as<double>(); }
  // A bool or an int.
  bool is_integer() const { return as<bool>() || as<int64_t>(); }
  int64_t integer() const { return as<bool>() ? *as<bool>() : *as<int64_t>(); }
  double number() const { return as<double>() ? *as<double>() : static_cast<double>(integer()); }

  bool truth() const;
  int depth() const;
  std::string type_name() const;  // as Python names it: "str", "list", "NoneType"

 private:
  Variant variant_;
};

struct List {
  std::vector<Value> items;
  bool is_tuple;
  int depth;
};

struct Dict {
  std::vector<std::pair<std::string, Value>> entries;  // in the order of insertion
  int depth;
  const Value* find(std::string_view key) const;
};

// What all work of one rendering is charged to, so that no template runs away.
class Budget {
 public:
  explicit Budget(size_t limit) : limit_(limit) {}
  // Throws Error(kBadFile) once the units (nodes evaluated, bytes and elements handled) exceed the limit.
  void spend(size_t units);
  // For `n` values in a new list: each takes the memory of some 16 characters.
  void spend_elements(size_t n) { spend(n > SIZE_MAX / 16 ? SIZE_MAX : 16 * n); }

 private:
  size_t limit_, spent_ = 0;
};

bool equal(const Value& a, const Value& b, Budget& budget);
// Python's str(), and repr() inside lists and dicts.
std::string to_text(const Value& value, Budget& budget);
// json.dumps(value, ensure_ascii=False, indent=indent); indent < 0: on one line. Throws Error(kBadFile) for what JSON
// lacks.
std::string to_json(const Value& value, int indent, Budget& budget);

}  // namespace trimeter::jinja
