#pragma once
#include <string>

#include "report/document.h"

namespace trimeter {

// GitHub's Markdown. Text of models and users is escaped, so that it can't become markup.
std::string render_markdown(const Document& document);

}  // namespace trimeter
