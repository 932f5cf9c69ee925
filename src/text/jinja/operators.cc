#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"

namespace trimeter::jinja {
namespace {

[[noreturn]] void no_such_operation(std::string_view name, const Value& a, const Value& b) {
  for (const Value* v : {&a, &b})
    if (const Undefined* undefined = v->as<Undefined>()) fail(*undefined->why);
  fail(fmt::format("no '{}' of {} and {}", name, a.type_name(), b.type_name()));
}

Value of_integers(std::string_view name, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  if (name == "+") {
    overflows = __builtin_add_overflow(a, b, &result);
  } else if (name == "-") {
    overflows = __builtin_sub_overflow(a, b, &result);
  } else if (name == "*") {
    overflows = __builtin_mul_overflow(a, b, &result);
  } else {
    if (b == 0) fail("division by zero");
    if (name == "/") return Value::of(static_cast<double>(a) / static_cast<double>(b));
    overflows = b == -1 && a == INT64_MIN;
    if (!overflows) {  // rounded toward minus infinity
      const int64_t remainder = a % b, correction = remainder != 0 && (remainder < 0) != (b < 0);
      result = name == "//" ? a / b - correction : remainder + correction * b;
    }
  }
  if (overflows) fail(fmt::format("{} {} {} needs more than 64 bits", a, name, b));
  return Value::of(result);
}

Value of_floats(std::string_view name, double a, double b) {
  if (name == "+") return Value::of(a + b);
  if (name == "-") return Value::of(a - b);
  if (name == "*") return Value::of(a * b);
  if (b == 0) fail("division by zero");
  if (name == "/") return Value::of(a / b);
  if (name == "//") return Value::of(std::floor(a / b));
  const double remainder = std::fmod(a, b);
  return Value::of(remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder);
}

Value repeated(const std::string& text, int64_t n, Budget& budget) {
  if (n > 0 && !text.empty())
    budget.spend(static_cast<size_t>(n) > SIZE_MAX / text.size() ? SIZE_MAX : static_cast<size_t>(n) * text.size());
  std::string out;
  for (int64_t i = 0; i < n && !text.empty(); ++i) out += text;
  return Value::of(std::move(out));
}

// Where Python's slice begins or ends.
int64_t clamped(int64_t bound, int64_t n, int64_t lowest, int64_t highest) {
  if (bound < 0) bound = bound < -n ? lowest : bound + n;
  return std::clamp(bound, lowest, highest);
}

}  // namespace

Value binary_operation(std::string_view name, const Value& a, const Value& b, Budget& budget) {
  if (name == "~") return make_string(to_text(a, budget) + to_text(b, budget), budget);
  if (a.is_integer() && b.is_integer()) return of_integers(name, a.integer(), b.integer());
  if (a.is_number() && b.is_number()) return of_floats(name, a.number(), b.number());
  if (name == "+" && a.string() && b.string()) return make_string(*a.string() + *b.string(), budget);
  if (name == "+" && a.list() && b.list() && a.list()->is_tuple == b.list()->is_tuple) {
    std::vector<Value> items = elements_of(a, budget);
    const std::vector<Value> more = elements_of(b, budget);
    items.insert(items.end(), more.begin(), more.end());
    return Value::list(std::move(items), a.list()->is_tuple);
  }
  if (name == "*" && a.string() && b.is_integer()) return repeated(*a.string(), b.integer(), budget);
  if (name == "*" && a.is_integer() && b.string()) return repeated(*b.string(), a.integer(), budget);
  no_such_operation(name, a, b);
}

bool holds(std::string_view name, const Value& a, const Value& b, Budget& budget) {
  if (name == "==") return equal(a, b, budget);
  if (name == "!=") return !equal(a, b, budget);
  if (name == "in") return contains(b, a, budget);
  if (name == "not in") return !contains(b, a, budget);
  if (a.is_undefined() || b.is_undefined()) no_such_operation(name, a, b);
  // Not `!less`, which a NaN would make true.
  if (name == "<") return less(a, b, budget);
  if (name == ">") return less(b, a, budget);
  return name == "<=" ? less(a, b, budget) || equal(a, b, budget) : less(b, a, budget) || equal(a, b, budget);
}

Value slice(const Value& subject, const Value& begin, const Value& end, const Value& step, Budget& budget) {
  if (const Undefined* undefined = subject.as<Undefined>()) fail(*undefined->why);
  if (!subject.list() && !subject.string()) fail(fmt::format("a value of type {} has no slices", subject.type_name()));
  for (const Value* bound : {&begin, &end, &step})
    if (!bound->is_none() && !bound->is_integer()) fail(fmt::format("a slice bound of type {}", bound->type_name()));
  const std::vector<Value> elements = elements_of(subject, budget);
  const auto n = static_cast<int64_t>(elements.size());
  const int64_t by = step.is_none() ? 1 : std::clamp(step.integer(), -n - 1, n + 1);
  if (by == 0) fail("a slice with step 0");
  // Forward the places are 0 to n, backward n - 1 to -1.
  const int64_t lowest = by > 0 ? 0 : -1, highest = by > 0 ? n : n - 1;
  const int64_t from = begin.is_none() ? (by > 0 ? lowest : highest) : clamped(begin.integer(), n, lowest, highest);
  const int64_t to = end.is_none() ? (by > 0 ? highest : lowest) : clamped(end.integer(), n, lowest, highest);
  std::vector<Value> taken;
  for (int64_t i = from; by > 0 ? i < to : i > to; i += by) taken.push_back(elements[static_cast<size_t>(i)]);
  if (subject.list()) return Value::list(std::move(taken), subject.list()->is_tuple);
  std::string text;
  for (const Value& c : taken) text += *c.string();
  return make_string(std::move(text), budget);
}

}  // namespace trimeter::jinja
