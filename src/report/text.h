// Text as a terminal shows it, and numbers as a person reads them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/integers.h"

namespace trimeter {

// Columns that UTF-8 text takes: 2 for East Asian wide characters and emoji, 0 for combining marks, 1 for the rest
// (the blocks of Unicode's EastAsianWidth.txt, not its every entry).
int display_width(std::string_view text);
// The first `width` columns of it; if that is not all, ending in "...".
std::string shortened(std::string_view text, int width);
// Lines of at most `width` columns, broken at spaces; a longer word is broken where it must be.
std::vector<std::string> wrapped(std::string_view text, int width);
// Model output on one line: control characters (of terminals, too) become \n, \t or \x1b.
std::string one_line(std::string_view text);

std::string rate_text(double per_s);                    // "12,140", below a hundred "87.3"
std::string bytes_text(int64_t bytes);                  // "11.0 MiB"
std::string time_text(double seconds);                  // "12.3 ms"
std::string significant(double value, int digits = 2);  // "0.0012"
std::string percent(double fraction);                   // "97.8%"

}  // namespace trimeter
