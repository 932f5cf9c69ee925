// The one list of formats: what a user can name.
#pragma once
#include <map>
#include <span>
#include <string>
#include <string_view>

namespace trimeter {

struct Format {
  std::string name;       // "awq"
  std::string scheme;     // a name of schemes/schemes.def: of the decoder layers' linears
  std::string algorithm;  // "none", "amax", "awq"
  std::string container;  // "written as": "safetensors", "vllm-fp8", "autoawq"
  std::string summary;    // one line for `trimeter formats`
  // Linears held in another scheme than the rule says (a checkpoint's ignore list, a mixed recipe): module_name() of
  // the linear -> scheme.
  std::map<std::string, std::string> scheme_of_module = {};
};

// The rows of formats.def, in its order.
std::span<const Format> all_formats();
// Throws Error(kBadArgument) with the names there are.
Format format(std::string_view name);

}  // namespace trimeter
