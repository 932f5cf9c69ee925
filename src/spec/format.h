// The one list of formats: what a user can name.
#pragma once
#include <span>
#include <string>
#include <string_view>

namespace trimeter {

struct Format {
  std::string_view name;       // "awq"
  std::string_view scheme;     // a name of schemes/schemes.def
  std::string_view algorithm;  // "none", "amax", "awq"
  std::string_view container;  // "written as": "safetensors", "vllm-fp8", "autoawq"
  std::string_view summary;    // one line for `trimeter formats`
};

// The rows of formats.def, in its order.
std::span<const Format> all_formats();
// Throws Error(kBadArgument) with the names there are.
const Format& format(std::string_view name);

}  // namespace trimeter
