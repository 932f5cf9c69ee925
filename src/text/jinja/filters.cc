// The filters and tests of jinja2's filters.py and tests.py that chat templates use.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "text/jinja/builtins.h"
#include "text/utf8.h"

namespace trimeter::jinja {
namespace {

using Filter = Value (*)(const Value& subject, Arguments& arguments, Budget& budget);
using Test = bool (*)(const Value& subject, Arguments& arguments, Budget& budget);

Value trim(const Value& subject, Arguments& arguments, Budget& budget) {
  const Value* set = arguments.take("chars");
  const std::string text = to_text(subject, budget);
  if (set && !set->is_none() && !set->string()) fail("trim() of characters that are no string");
  const std::string* characters = set ? set->string() : nullptr;
  if (characters) budget.spend(text.size() * characters->size());
  return make_string(std::string(strip(text, characters, true, true)), budget);
}

Value tojson(const Value& subject, Arguments& arguments, Budget& budget) {
  const Value* ascii = arguments.take("ensure_ascii");
  if (ascii && ascii->truth()) fail("tojson(ensure_ascii=true) is not supported");
  const Value* indent = arguments.take("indent");
  if (indent && !indent->is_none() && !indent->is_integer()) fail("tojson() with an indent that is no integer");
  const int64_t spaces = indent && !indent->is_none() ? std::clamp<int64_t>(indent->integer(), 0, 1000) : -1;
  return make_string(to_json(subject, static_cast<int>(spaces), budget), budget);
}

Value length(const Value& subject, Arguments&, Budget& budget) {
  if (subject.list()) return Value::of(static_cast<int64_t>(subject.list()->items.size()));
  if (subject.dict()) return Value::of(static_cast<int64_t>(subject.dict()->entries.size()));
  return Value::of(static_cast<int64_t>(elements_of(subject, budget).size()));
}

Value upper(const Value& subject, Arguments&, Budget& budget) {
  return make_string(with_case(to_text(subject, budget), true), budget);
}
Value lower(const Value& subject, Arguments&, Budget& budget) {
  return make_string(with_case(to_text(subject, budget), false), budget);
}
Value capitalize(const Value& subject, Arguments&, Budget& budget) {
  const std::string text = to_text(subject, budget);
  const size_t first = text.empty() ? 0 : static_cast<size_t>(utf8_step(text, 0).length);
  return make_string(with_case(text.substr(0, first), true) + with_case(text.substr(first), false), budget);
}

Value first(const Value& subject, Arguments&, Budget& budget) {
  const std::vector<Value> elements = elements_of(subject, budget);
  return elements.empty() ? Value::undefined("an empty value has no first element") : elements.front();
}
Value last(const Value& subject, Arguments&, Budget& budget) {
  const std::vector<Value> elements = elements_of(subject, budget);
  return elements.empty() ? Value::undefined("an empty value has no last element") : elements.back();
}

Value default_value(const Value& subject, Arguments& arguments, Budget&) {
  const Value* otherwise = arguments.take("default_value");
  const Value* if_false = arguments.take("boolean");
  const bool replaced = subject.is_undefined() || (if_false && if_false->truth() && !subject.truth());
  return !replaced ? subject : otherwise ? *otherwise : Value::of(std::string());
}

// a.b of each element.
Value nested_attribute(Value value, const Value& path, Budget& budget) {
  if (!path.string()) return item_of(value, path, budget);
  for (std::string_view rest = *path.string(); !rest.empty();) {
    const size_t dot = std::min(rest.find('.'), rest.size());
    value = item_of(value, Value::of(std::string(rest.substr(0, dot))), budget);
    rest.remove_prefix(std::min(dot + 1, rest.size()));
  }
  return value;
}

Value join(const Value& subject, Arguments& arguments, Budget& budget) {
  const Value* separator = arguments.take("d");
  const Value* attribute = arguments.take("attribute");
  const std::string between = separator ? to_text(*separator, budget) : "";
  std::string out;
  bool is_first = true;
  for (const Value& element : elements_of(subject, budget)) {
    budget.spend(between.size());
    if (!is_first) out += between;
    is_first = false;
    out +=
        to_text(attribute && !attribute->is_none() ? nested_attribute(element, *attribute, budget) : element, budget);
  }
  return make_string(std::move(out), budget);
}

Value replace(const Value& subject, Arguments& arguments, Budget& budget) {
  const std::string from = to_text(arguments.require("replace", "old"), budget);
  const std::string to = to_text(arguments.require("replace", "new"), budget);
  const Value* count = arguments.take("count");
  if (count && !count->is_none() && !count->is_integer()) fail("replace() with a count that is no integer");
  const int64_t limit = count && !count->is_none() ? count->integer() : -1;
  return make_string(replace_all(to_text(subject, budget), from, to, limit, budget), budget);
}

Value list(const Value& subject, Arguments&, Budget& budget) { return Value::list(elements_of(subject, budget)); }

Value items(const Value& subject, Arguments&, Budget& budget) {
  if (subject.is_undefined()) return Value::list({});
  if (!subject.dict()) fail(fmt::format("items of a value of type {}, not of a dict", subject.type_name()));
  return call_method(subject, "items", Arguments({}, {}), budget);
}

Value string(const Value& subject, Arguments&, Budget& budget) { return make_string(to_text(subject, budget), budget); }

Value to_int(const Value& subject, Arguments& arguments, Budget& budget) {
  const Value* otherwise = arguments.take("default");
  if (subject.is_integer()) return Value::of(subject.integer());
  if (const double* d = subject.as<double>(); d && std::abs(*d) < 9e18) return Value::of(static_cast<int64_t>(*d));
  if (const std::string* text = subject.string()) {
    budget.spend(text->size());
    std::string_view digits = strip(*text, nullptr, true, true);
    if (digits.starts_with('+')) digits.remove_prefix(1);
    int64_t i = 0;
    double d = 0;
    const char* end = digits.data() + digits.size();
    if (const auto r = std::from_chars(digits.data(), end, i); r.ec == std::errc() && r.ptr == end) return Value::of(i);
    if (const auto r = std::from_chars(digits.data(), end, d);
        r.ec == std::errc() && r.ptr == end && std::abs(d) < 9e18)
      return Value::of(static_cast<int64_t>(d));
  }
  return otherwise ? *otherwise : Value::of(int64_t{0});
}

Value map(const Value& subject, Arguments& arguments, Budget& budget) {
  std::vector<Value> made;
  if (!arguments.named().empty()) {
    const Value attribute = arguments.require("map", "attribute");
    const Value* given = arguments.take("default");
    const Value otherwise = given ? *given : Value();
    for (const Value& element : elements_of(subject, budget)) {
      Value found = nested_attribute(element, attribute, budget);
      made.push_back(given && found.is_undefined() ? otherwise : std::move(found));
    }
    return Value::list(std::move(made));
  }
  const std::string filter = to_text(arguments.require("map", "filter"), budget);
  const Arguments rest = arguments.rest();
  for (const Value& element : elements_of(subject, budget)) made.push_back(apply_filter(filter, element, rest, budget));
  arguments = Arguments({}, {});
  return Value::list(std::move(made));
}

// select, reject, selectattr, rejectattr.
Value choose(const Value& subject, Arguments& arguments, Budget& budget, bool by_attribute, bool wanted) {
  const Value attribute = by_attribute ? arguments.require("selectattr", "attribute") : Value();
  const Value* name = arguments.take("test");
  const std::string test = name ? to_text(*name, budget) : "";
  const Arguments rest = arguments.rest();
  std::vector<Value> made;
  for (const Value& element : elements_of(subject, budget)) {
    const Value tested = by_attribute ? nested_attribute(element, attribute, budget) : element;
    if ((name ? apply_test(test, tested, rest, budget) : tested.truth()) == wanted) made.push_back(element);
  }
  arguments = Arguments({}, {});
  return Value::list(std::move(made));
}
Value select(const Value& s, Arguments& a, Budget& b) { return choose(s, a, b, false, true); }
Value reject(const Value& s, Arguments& a, Budget& b) { return choose(s, a, b, false, false); }
Value selectattr(const Value& s, Arguments& a, Budget& b) { return choose(s, a, b, true, true); }
Value rejectattr(const Value& s, Arguments& a, Budget& b) { return choose(s, a, b, true, false); }

bool equal_to(const Value& s, Arguments& a, Budget& b) { return equal(s, a.require("equalto", "other"), b); }
bool not_equal_to(const Value& s, Arguments& a, Budget& b) { return !equal_to(s, a, b); }
bool is_in(const Value& s, Arguments& a, Budget& b) { return contains(a.require("in", "seq"), s, b); }
bool is_sequence(const Value& s, Arguments&, Budget&) { return s.string() || s.list() || s.dict() || s.is_undefined(); }

int64_t integer_for(const Value& value, const char* test) {
  if (!value.is_integer()) fail(fmt::format("test '{}' wants an integer, got {}", test, value.type_name()));
  return value.integer();
}
bool divisible_by(const Value& s, Arguments& a, Budget&) {
  const int64_t by = integer_for(a.require("divisibleby", "num"), "divisibleby");
  if (by == 0) fail("division by zero");
  return by == -1 || integer_for(s, "divisibleby") % by == 0;
}

const std::unordered_map<std::string_view, Filter>& filters() {
  static const std::unordered_map<std::string_view, Filter> table = {{"trim", trim},
                                                                     {"tojson", tojson},
                                                                     {"length", length},
                                                                     {"count", length},
                                                                     {"upper", upper},
                                                                     {"lower", lower},
                                                                     {"first", first},
                                                                     {"last", last},
                                                                     {"default", default_value},
                                                                     {"d", default_value},
                                                                     {"join", join},
                                                                     {"replace", replace},
                                                                     {"list", list},
                                                                     {"items", items},
                                                                     {"string", string},
                                                                     {"int", to_int},
                                                                     {"map", map},
                                                                     {"select", select},
                                                                     {"reject", reject},
                                                                     {"selectattr", selectattr},
                                                                     {"rejectattr", rejectattr},
                                                                     {"capitalize", capitalize}};
  return table;
}

const std::unordered_map<std::string_view, Test>& tests() {
  static const std::unordered_map<std::string_view, Test> table = {
      {"defined", [](const Value& s, Arguments&, Budget&) { return !s.is_undefined(); }},
      {"undefined", [](const Value& s, Arguments&, Budget&) { return s.is_undefined(); }},
      {"none", [](const Value& s, Arguments&, Budget&) { return s.is_none(); }},
      {"string", [](const Value& s, Arguments&, Budget&) { return s.string() != nullptr; }},
      {"mapping", [](const Value& s, Arguments&, Budget&) { return s.dict() != nullptr; }},
      {"iterable", is_sequence},
      {"sequence", is_sequence},
      {"boolean", [](const Value& s, Arguments&, Budget&) { return s.as<bool>() != nullptr; }},
      {"true", [](const Value& s, Arguments&, Budget&) { return s.as<bool>() && *s.as<bool>(); }},
      {"false", [](const Value& s, Arguments&, Budget&) { return s.as<bool>() && !*s.as<bool>(); }},
      {"integer", [](const Value& s, Arguments&, Budget&) { return s.as<int64_t>() != nullptr; }},
      {"float", [](const Value& s, Arguments&, Budget&) { return s.as<double>() != nullptr; }},
      {"number", [](const Value& s, Arguments&, Budget&) { return s.is_number(); }},
      {"odd", [](const Value& s, Arguments&, Budget&) { return integer_for(s, "odd") % 2 != 0; }},
      {"even", [](const Value& s, Arguments&, Budget&) { return integer_for(s, "even") % 2 == 0; }},
      {"divisibleby", divisible_by},
      {"equalto", equal_to},
      {"eq", equal_to},
      {"==", equal_to},
      {"ne", not_equal_to},
      {"!=", not_equal_to},
      {"in", is_in}};
  return table;
}

template <class Table>
auto look_up(const Table& table, std::string_view name, const char* what) {
  const auto found = table.find(name);
  if (found == table.end()) fail(fmt::format("{} '{}' is not supported", what, name));
  return found->second;
}

}  // namespace

bool is_filter(std::string_view name) { return filters().contains(name); }
bool is_test(std::string_view name) { return tests().contains(name); }

Value apply_filter(std::string_view name, const Value& subject, Arguments arguments, Budget& budget) {
  budget.spend(1);
  const Filter filter = look_up(filters(), name, "filter");
  Value made = filter(subject, arguments, budget);
  arguments.done(name);
  return made;
}

bool apply_test(std::string_view name, const Value& subject, Arguments arguments, Budget& budget) {
  budget.spend(1);
  const Test test = look_up(tests(), name, "test");
  const bool passed = test(subject, arguments, budget);
  arguments.done(name);
  return passed;
}

}  // namespace trimeter::jinja
