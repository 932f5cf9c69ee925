// Tokens to a tree; the grammar is that of jinja2's parser.py, without what chat templates have no use for.
#pragma once
#include <string_view>

#include "text/jinja/ast.h"

namespace trimeter::jinja {

// Throws Error(kBadFile) with line and construct for what does not parse and for what we lack: macros, imports,
// inheritance, call and filter blocks, raw, break and continue, recursive loops, unknown filters and tests.
Body parse(std::string_view source);

}  // namespace trimeter::jinja
