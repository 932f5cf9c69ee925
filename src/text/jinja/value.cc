#include "text/jinja/value.h"

#include <algorithm>

#include "base/error.h"

namespace trimeter::jinja {
namespace {

constexpr int kMaxDepth = 64;  // of lists and dicts in one another

int checked_depth(int depth) {
  if (depth > kMaxDepth) throw Error(Errc::kBadFile, "chat template: values nest deeper than {}", kMaxDepth);
  return depth;
}

}  // namespace

Value Value::list(std::vector<Value> items, bool is_tuple) {
  int depth = 1;
  for (const Value& item : items) depth = std::max(depth, 1 + item.depth());
  return Value(std::make_shared<const List>(List{std::move(items), is_tuple, checked_depth(depth)}));
}

Value Value::dict(std::vector<std::pair<std::string, Value>> entries) {
  int depth = 1;
  for (const auto& [key, value] : entries) depth = std::max(depth, 1 + value.depth());
  return Value(std::make_shared<const Dict>(Dict{std::move(entries), checked_depth(depth)}));
}

Value Value::undefined(std::string why) {
  return Value(Undefined{std::make_shared<const std::string>(std::move(why))});
}

const std::string* Value::string() const {
  const auto* p = as<std::shared_ptr<const std::string>>();
  return p ? p->get() : nullptr;
}

const List* Value::list() const {
  const auto* p = as<std::shared_ptr<const List>>();
  return p ? p->get() : nullptr;
}

const Dict* Value::dict() const {
  const auto* p = as<std::shared_ptr<const Dict>>();
  return p ? p->get() : nullptr;
}

bool Value::truth() const {
  if (is_none() || is_undefined()) return false;
  if (is_number()) return number() != 0;
  if (string()) return !string()->empty();
  if (list()) return !list()->items.empty();
  if (dict()) return !dict()->entries.empty();
  return true;
}

int Value::depth() const {
  if (list()) return list()->depth;
  if (dict()) return dict()->depth;
  return as<Function>() && as<Function>()->self ? as<Function>()->self->depth() : 0;
}

std::string Value::type_name() const {
  if (is_none()) return "NoneType";
  if (is_undefined()) return "Undefined";
  if (as<bool>()) return "bool";
  if (as<int64_t>()) return "int";
  if (as<double>()) return "float";
  if (string()) return "str";
  if (list()) return list()->is_tuple ? "tuple" : "list";
  if (dict()) return "dict";
  if (as<Object>()) return as<Object>()->kind == Object::Kind::kLoop ? "loop" : "namespace";
  return "function";
}

const Value* Dict::find(std::string_view key) const {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const auto& entry) { return entry.first == key; });
  return found == entries.end() ? nullptr : &found->second;
}

void Budget::spend(size_t units) {
  if (units > limit_ - spent_) throw Error(Errc::kBadFile, "chat template: more than {} steps of work", limit_);
  spent_ += units;
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.spend(1);
  if (a.is_number() && b.is_number())
    return a.is_integer() && b.is_integer() ? a.integer() == b.integer() : a.number() == b.number();
  if (a.string() && b.string()) {
    budget.spend(std::min(a.string()->size(), b.string()->size()));
    return *a.string() == *b.string();
  }
  if (a.list() && b.list()) {
    const auto &x = a.list()->items, &y = b.list()->items;
    return a.list()->is_tuple == b.list()->is_tuple &&
           std::equal(x.begin(), x.end(), y.begin(), y.end(),
                      [&](const Value& left, const Value& right) { return equal(left, right, budget); });
  }
  if (a.dict() && b.dict()) {
    if (a.dict()->entries.size() != b.dict()->entries.size()) return false;
    return std::all_of(a.dict()->entries.begin(), a.dict()->entries.end(), [&](const auto& entry) {
      budget.spend(b.dict()->entries.size());
      const Value* other = b.dict()->find(entry.first);
      return other != nullptr && equal(entry.second, *other, budget);
    });
  }
  if (a.as<Object>() && b.as<Object>()) return a.as<Object>()->attributes == b.as<Object>()->attributes;
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

}  // namespace trimeter::jinja
