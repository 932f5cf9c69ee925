// Whole numbers: division that rounds up, and how a person reads them.
#pragma once
#include <cstdint>
#include <string>

namespace trimeter {

// ceil(a / b), for a >= 0 and b > 0: blocks that a tokens take.
constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::string with_commas(int64_t value);  // "12,140"

}  // namespace trimeter
