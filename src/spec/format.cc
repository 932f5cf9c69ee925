#include "spec/format.h"

#include "base/error.h"

namespace trimeter {

std::span<const Format> all_formats() {
  static const Format kFormats[] = {
#define TM_FORMAT(name, scheme, algorithm, container, summary) {name, scheme, algorithm, container, summary},
#include "formats.def"
#undef TM_FORMAT
  };
  return kFormats;
}

Format format(std::string_view wanted) {
  std::string names;
  for (const Format& row : all_formats()) {
    if (row.name == wanted) return row;
    names += names.empty() ? "" : ", ";
    names += row.name;
  }
  throw Error(Errc::kBadArgument, "format '{}': there is no such format; there are {}", wanted, names);
}

}  // namespace trimeter
