// Attributes, items and methods of values.
#include <algorithm>
#include <array>

#include "text/jinja/builtins.h"
#include "text/jinja/lexer.h"
#include "text/utf8.h"

namespace trimeter::jinja {
namespace {

constexpr std::array<std::string_view, 10> kStringMethods = {"strip", "lstrip",  "rstrip", "startswith", "endswith",
                                                             "split", "replace", "upper",  "lower",      "capitalize"};
constexpr std::array<std::string_view, 4> kDictMethods = {"keys", "values", "items", "get"};
// What Python has and we don't: an error, where any other name is merely undefined.
constexpr std::array<std::string_view, 36> kOtherStringMethods = {
    "casefold",   "center",       "count",        "encode",   "expandtabs", "find",    "format",       "format_map",
    "index",      "isalnum",      "isalpha",      "isascii",  "isdecimal",  "isdigit", "isidentifier", "islower",
    "isnumeric",  "isprintable",  "isspace",      "istitle",  "isupper",    "join",    "ljust",        "maketrans",
    "partition",  "removeprefix", "removesuffix", "rfind",    "rindex",     "rjust",   "rpartition",   "rsplit",
    "splitlines", "swapcase",     "title",        "translate"};
constexpr std::array<std::string_view, 7> kOtherDictMethods = {"clear",   "copy",       "fromkeys", "pop",
                                                               "popitem", "setdefault", "update"};
constexpr std::array<std::string_view, 11> kListMethods = {"append", "clear", "copy",   "count",   "extend", "index",
                                                           "insert", "pop",   "remove", "reverse", "sort"};

template <class Names>
bool is_in(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

const std::string& text_of(const Value& value, std::string_view method) {
  if (!value.string()) fail(fmt::format("{}() wants a string, got {}", method, value.type_name()));
  return *value.string();
}

Value split(const std::string& text, Arguments& arguments, Budget& budget) {
  const Value* separator = arguments.take("sep");
  const Value* limit = arguments.take("maxsplit");
  if (limit && !limit->is_integer()) fail("split() with a maxsplit that is no integer");
  const int64_t most = limit && limit->integer() >= 0 ? limit->integer() : INT64_MAX;
  std::vector<Value> parts;
  std::string_view rest = text;
  if (separator && !separator->is_none()) {
    const std::string& by = text_of(*separator, "split");
    if (by.empty()) fail("split() by an empty string");
    for (size_t found;
         static_cast<int64_t>(parts.size()) < most && (found = rest.find(by)) != std::string_view::npos;) {
      parts.push_back(make_string(std::string(rest.substr(0, found)), budget));
      rest.remove_prefix(found + by.size());
    }
    parts.push_back(make_string(std::string(rest), budget));
  } else {
    for (rest = strip(rest, nullptr, true, false); !rest.empty(); rest = strip(rest, nullptr, true, false)) {
      size_t end = static_cast<int64_t>(parts.size()) < most ? 0 : rest.size();
      while (end < rest.size() && !is_python_space(utf8_step(rest, end).code))
        end += static_cast<size_t>(utf8_step(rest, end).length);
      parts.push_back(make_string(std::string(rest.substr(0, end)), budget));
      rest.remove_prefix(end);
    }
  }
  return Value::list(std::move(parts));
}

// A prefix or suffix, or any of a tuple of them.
bool begins_or_ends(const std::string& text, const Value& affix, std::string_view method) {
  if (const List* list = affix.list(); list && list->is_tuple)
    return std::any_of(list->items.begin(), list->items.end(),
                       [&](const Value& one) { return begins_or_ends(text, one, method); });
  const std::string& what = text_of(affix, method);
  return method == "startswith" ? text.starts_with(what) : text.ends_with(what);
}

Value call_string_method(const std::string& text, std::string_view name, Arguments arguments, Budget& budget) {
  budget.spend(text.size());
  Value made;
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Value* set = arguments.take("chars");
    const std::string* characters = set && !set->is_none() ? &text_of(*set, name) : nullptr;
    if (characters) budget.spend(text.size() * characters->size());
    made = make_string(std::string(strip(text, characters, name != "rstrip", name != "lstrip")), budget);
  } else if (name == "startswith" || name == "endswith") {
    made = Value::of(begins_or_ends(text, arguments.require(name, "prefix"), name));
  } else if (name == "split") {
    made = split(text, arguments, budget);
  } else if (name == "replace") {
    const std::string &from = text_of(arguments.require(name, "old"), name),
                      to = text_of(arguments.require(name, "new"), name);
    const Value* limit = arguments.take("count");
    if (limit && !limit->is_integer()) fail("replace() with a count that is no integer");
    made = make_string(replace_all(text, from, to, limit ? limit->integer() : -1, budget), budget);
  } else {
    made = apply_filter(name, Value::of(text), Arguments({}, {}), budget);  // upper, lower, capitalize
  }
  arguments.done(name);
  return made;
}

Value call_dict_method(const Dict& dict, std::string_view name, Arguments arguments, Budget& budget) {
  if (name == "get") {
    const Value& key = arguments.require(name, "key");
    const Value* otherwise = arguments.take("default");
    const Value* found = key.string() ? dict.find(*key.string()) : nullptr;
    arguments.done(name);
    return found ? *found : otherwise ? *otherwise : Value();
  }
  arguments.done(name);
  std::vector<Value> made;
  budget.spend_elements(dict.entries.size());
  for (const auto& [key, value] : dict.entries) {
    Value text = make_string(key, budget);
    made.push_back(name == "keys" ? text : name == "values" ? value : Value::list({text, value}, true));
  }
  return Value::list(std::move(made));
}

Value method(const Value& subject, std::string_view name) {
  return Value(Function{std::string(name), std::make_shared<const Value>(subject)});
}

Value no_attribute(const Value& subject, std::string_view name) {
  return Value::undefined(fmt::format("a {} has no attribute '{}'", subject.type_name(), name));
}

Value object_attribute(const Value& subject, const Object& object, std::string_view name) {
  if (const auto found = object.attributes->find(name); found != object.attributes->end()) return found->second;
  if (object.kind == Object::Kind::kLoop && name != "previtem" && name != "nextitem")
    fail(fmt::format("'loop.{}' is not supported", name));
  return no_attribute(subject, name);
}

}  // namespace

Value attribute_of(const Value& subject, std::string_view name, Budget& budget) {
  budget.spend(1);
  if (const Undefined* undefined = subject.as<Undefined>()) fail(*undefined->why);
  if (const Object* object = subject.as<Object>()) return object_attribute(subject, *object, name);
  if (const Dict* dict = subject.dict()) {
    if (is_in(kDictMethods, name)) return method(subject, name);
    if (is_in(kOtherDictMethods, name)) fail(fmt::format("dict method '{}' is not supported", name));
    budget.spend(dict->entries.size());
    if (const Value* found = dict->find(name)) return *found;
  } else if (subject.string()) {
    if (is_in(kStringMethods, name)) return method(subject, name);
    if (is_in(kOtherStringMethods, name)) fail(fmt::format("string method '{}' is not supported", name));
  } else if (subject.list() && is_in(kListMethods, name)) {
    fail(fmt::format("list method '{}' is not supported", name));
  }
  return no_attribute(subject, name);
}

Value item_of(const Value& subject, const Value& key, Budget& budget) {
  budget.spend(1);
  if (const Undefined* undefined = subject.as<Undefined>()) fail(*undefined->why);
  if (const std::string* name = key.string()) {
    const Dict* dict = subject.dict();
    if (dict) budget.spend(dict->entries.size());
    const Value* found = dict ? dict->find(*name) : nullptr;
    return found ? *found : attribute_of(subject, *name, budget);
  }
  if ((subject.list() || subject.string()) && key.is_integer()) {
    if (subject.string()) budget.spend_elements(subject.string()->size());
    const std::vector<std::string_view> characters =
        subject.string() ? characters_of(*subject.string()) : std::vector<std::string_view>();
    const auto n = static_cast<int64_t>(subject.list() ? subject.list()->items.size() : characters.size());
    const int64_t i = key.integer() < 0 ? key.integer() + n : key.integer();
    if (i >= 0 && i < n)
      return subject.list() ? subject.list()->items[static_cast<size_t>(i)]
                            : make_string(std::string(characters[static_cast<size_t>(i)]), budget);
    return Value::undefined(fmt::format("a {} of {} has no element {}", subject.type_name(), n, key.integer()));
  }
  return Value::undefined(fmt::format("a {} has no such element", subject.type_name()));
}

Value call_method(const Value& self, std::string_view name, Arguments arguments, Budget& budget) {
  return self.dict() ? call_dict_method(*self.dict(), name, std::move(arguments), budget)
                     : call_string_method(*self.string(), name, std::move(arguments), budget);
}

}  // namespace trimeter::jinja
