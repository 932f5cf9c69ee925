#include "text/jinja/builtins.h"

#include <algorithm>
#include <ctime>

#include "text/jinja/lexer.h"
#include "text/utf8.h"

namespace trimeter::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // jinja2.sandbox.MAX_RANGE
constexpr int64_t kMaxBound = int64_t{1} << 53;

Value range(Arguments arguments, Budget& budget) {
  std::vector<int64_t> bounds;
  while (const Value* bound = arguments.take("")) {
    if (!bound->is_integer() || bound->integer() < -kMaxBound || bound->integer() > kMaxBound)
      fail(fmt::format("range() wants integers up to {}", kMaxBound));
    bounds.push_back(bound->integer());
  }
  arguments.done("range");
  if (bounds.empty() || bounds.size() > 3)
    fail(fmt::format("range() wants one to three arguments, got {}", bounds.size()));
  const int64_t begin = bounds.size() > 1 ? bounds[0] : 0, end = bounds.size() > 1 ? bounds[1] : bounds[0];
  const int64_t step = bounds.size() > 2 ? bounds[2] : 1;
  if (step == 0) fail("range() with step 0");
  const int64_t n = std::max<int64_t>(0, step > 0 ? (end - begin + step - 1) / step : (begin - end - step - 1) / -step);
  if (n > kMaxRange) fail(fmt::format("range() of more than {} values", kMaxRange));
  budget.spend_elements(static_cast<size_t>(n));
  std::vector<Value> items;
  for (int64_t i = 0; i < n; ++i) items.push_back(Value::of(begin + i * step));
  return Value::list(std::move(items));
}

Value strftime_now(Arguments arguments, Budget& budget) {
  const Value& format = arguments.require("strftime_now", "format");
  arguments.done("strftime_now");
  if (!format.string()) fail("strftime_now() of a value that is no string");
  if (format.string()->empty()) return make_string("", budget);
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[256];
  const size_t n = std::strftime(text, sizeof text, format.string()->c_str(), &local);
  if (n == 0) fail("strftime_now() of a format that gives nothing or too much");
  return make_string(std::string(text, n), budget);
}

}  // namespace

void fail(const std::string& what) { throw Error(Errc::kBadFile, "{}", what); }

const Value* Arguments::take(std::string_view name) {
  if (next_ < positional_.size()) return &positional_[next_++];
  const auto found = std::find_if(named_.begin(), named_.end(), [&](const auto& n) { return n.first == name; });
  if (found == named_.end()) return nullptr;
  positional_.push_back(std::move(found->second));
  named_.erase(found);
  return &positional_[next_++];
}

const Value& Arguments::require(std::string_view callee, std::string_view name) {
  const Value* value = take(name);
  if (value == nullptr) fail(fmt::format("{}() without its argument '{}'", callee, name));
  return *value;
}

void Arguments::done(std::string_view callee) const {
  if (next_ < positional_.size()) fail(fmt::format("{}() with more arguments than are supported", callee));
  if (!named_.empty()) fail(fmt::format("{}() with argument '{}', which is not supported", callee, named_[0].first));
}

Arguments Arguments::rest() const {
  return {{positional_.begin() + static_cast<std::ptrdiff_t>(next_), positional_.end()}, named_};
}

bool is_function(std::string_view name) {
  return name == "raise_exception" || name == "range" || name == "strftime_now" || name == "namespace";
}

Value call_function(std::string_view name, Arguments arguments, Budget& budget) {
  if (name == "range") return range(std::move(arguments), budget);
  if (name == "strftime_now") return strftime_now(std::move(arguments), budget);
  if (name == "raise_exception") {
    const std::string message = to_text(arguments.require(name, "message"), budget);
    throw Error(Errc::kBadArgument, "the chat template refuses these messages: {}", message);
  }
  fail(fmt::format("function '{}' is not supported", name));
}

Value make_string(std::string text, Budget& budget) {
  budget.spend(text.size() + 1);
  return Value::of(std::move(text));
}

std::vector<std::string_view> characters_of(std::string_view text) {
  std::vector<std::string_view> characters;
  for (size_t offset = 0; offset < text.size();) {
    const auto n = static_cast<size_t>(utf8_step(text, offset).length);
    characters.push_back(text.substr(offset, n));
    offset += n;
  }
  return characters;
}

std::vector<Value> elements_of(const Value& value, Budget& budget) {
  std::vector<Value> elements;
  if (const List* list = value.list()) {
    budget.spend_elements(list->items.size());
    elements = list->items;
  } else if (const Dict* dict = value.dict()) {
    budget.spend_elements(dict->entries.size());
    for (const auto& [key, entry] : dict->entries) elements.push_back(make_string(key, budget));
  } else if (const std::string* text = value.string()) {
    budget.spend_elements(text->size());
    for (const std::string_view c : characters_of(*text)) elements.push_back(make_string(std::string(c), budget));
  } else if (!value.is_undefined()) {
    fail(fmt::format("a value of type {} is not iterable", value.type_name()));
  }
  return elements;
}

bool contains(const Value& container, const Value& item, Budget& budget) {
  if (const std::string* text = container.string()) {
    if (!item.string()) fail(fmt::format("'in' a string wants a string, got {}", item.type_name()));
    budget.spend(text->size() + item.string()->size());
    return text->find(*item.string()) != std::string::npos;
  }
  if (const Dict* dict = container.dict()) {
    budget.spend(dict->entries.size());
    return item.string() && dict->find(*item.string()) != nullptr;
  }
  const std::vector<Value> elements = elements_of(container, budget);
  return std::any_of(elements.begin(), elements.end(),
                     [&](const Value& element) { return equal(element, item, budget); });
}

bool less(const Value& a, const Value& b, Budget& budget) {
  if (a.is_number() && b.is_number())
    return a.is_integer() && b.is_integer() ? a.integer() < b.integer() : a.number() < b.number();
  if (!a.string() || !b.string()) fail(fmt::format("no order between {} and {}", a.type_name(), b.type_name()));
  budget.spend(std::min(a.string()->size(), b.string()->size()));
  return *a.string() < *b.string();  // the order of bytes is that of code points
}

}  // namespace trimeter::jinja
