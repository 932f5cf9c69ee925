#pragma once
#include <string>

#include "report/document.h"

namespace trimeter {

inline constexpr int kReportColumns = 100;

// No line is wider than kReportColumns. Colour by ANSI escapes; whether the reader has a terminal is the caller's to
// know.
std::string render_terminal(const Document& document, bool color);

}  // namespace trimeter
