#include "spec/format.h"

#include "base/error.h"

namespace trimeter {
namespace {

constexpr Format kFormats[] = {
#define TM_FORMAT(name, scheme, algorithm, container, summary) {name, scheme, algorithm, container, summary},
#include "formats.def"
#undef TM_FORMAT
};

}  // namespace

std::span<const Format> all_formats() { return kFormats; }

const Format& format(std::string_view wanted) {
  std::string names;
  for (const Format& row : kFormats) {
    if (row.name == wanted) return row;
    names += names.empty() ? "" : ", ";
    names += row.name;
  }
  throw Error(Errc::kBadArgument, "format '{}': there is no such format; there are {}", wanted, names);
}

}  // namespace trimeter
