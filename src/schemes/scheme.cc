#include "schemes/scheme.h"

#include "base/error.h"

namespace trimeter {

#define TM_SCHEME(folder, name) const Scheme& name##_scheme();
#include "schemes/schemes.def"
#undef TM_SCHEME

std::span<const Scheme* const> all_schemes() {
  static const Scheme* const kSchemes[] = {
#define TM_SCHEME(folder, name) &name##_scheme(),
#include "schemes/schemes.def"
#undef TM_SCHEME
  };
  return kSchemes;
}

const Scheme& scheme(std::string_view wanted) {
  std::string names;
  for (const Scheme* candidate : all_schemes()) {
    if (candidate->info().name == wanted) return *candidate;
    names += names.empty() ? "" : ", ";
    names += candidate->info().name;
  }
  throw Error(Errc::kBadArgument, "scheme '{}': there is no such scheme; there are {}", wanted, names);
}

}  // namespace trimeter
