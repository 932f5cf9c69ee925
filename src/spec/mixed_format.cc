#include "spec/mixed_format.h"

#include <string_view>

#include "base/error.h"
#include "spec/ledger.h"

namespace trimeter {
namespace {

// Greedy: on a mismatch the last * takes one character more, so that the time is at most |pattern| * |text|.
bool matches(std::string_view pattern, std::string_view text) {
  size_t p = 0, t = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

bool names(const std::string& pattern, const LinearSpec& linear) {
  if (matches(pattern, module_name(linear))) return true;
  constexpr std::string_view kWeight = ".weight";
  for (const LinearPart& part : linear.parts)
    if (matches(pattern, std::string_view(part.tensor).substr(0, part.tensor.size() - kWeight.size()))) return true;
  return false;
}

}  // namespace

Format keep_16bit(const ModelSpec& model, Format format, std::span<const std::string> patterns) {
  const std::string dense(dense_scheme(dense_dtype(model, format)).info().name);
  for (const std::string& pattern : patterns) {
    bool found = false;
    for (const LinearSpec& linear : model.linears())
      if (names(pattern, linear)) {
        format.scheme_of_module[module_name(linear)] = dense;
        found = true;
      }
    if (!found)
      throw Error(Errc::kBadArgument, "keep in 16 bits '{}': no decoder linear has such a name; the first one is '{}'",
                  pattern, module_name(model.linears_of_layer(0)[0]));
  }
  return format;
}

}  // namespace trimeter
