// Runs a template's tree.
#pragma once
#include <string>

#include "text/jinja/ast.h"

namespace trimeter::jinja {

// What `body` renders with these variables. Throws Error(kBadArgument) with the template's own words when it calls
// raise_exception, Error(kBadFile) with the line for what goes wrong or is more work
// than work_limit (see Budget).
std::string render(const Body& body, Attributes variables, size_t work_limit);

}  // namespace trimeter::jinja
