// Operators on values, with Python's meaning.
#pragma once
#include <string_view>

#include "text/jinja/value.h"

namespace trimeter::jinja {

// + - * / // % ~. Integers are of 64 bits: what doesn't fit is an error, not a wrong number.
Value binary_operation(std::string_view name, const Value& a, const Value& b, Budget& budget);
// == != < <= > >= in "not in".
bool holds(std::string_view name, const Value& a, const Value& b, Budget& budget);
// subject[begin:end:step] of a list or of a string's characters; none for a bound left out.
Value slice(const Value& subject, const Value& begin, const Value& end, const Value& step, Budget& budget);

}  // namespace trimeter::jinja
