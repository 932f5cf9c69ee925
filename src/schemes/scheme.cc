#include "schemes/scheme.h"

#include "base/error.h"
#include "schemes/stacked_scheme.h"

namespace trimeter {

#define TM_SCHEME(name) const Scheme& name##_scheme();
#include "schemes/all_schemes.def"
#undef TM_SCHEME

WeightBytes PackedWeight::bytes() const {
  WeightBytes sum{.values = values.size(),
                  .scales = scales.size() + static_cast<int64_t>(input_order.size() * sizeof(int32_t))};
  for (const PackedWeight& part : parts) {
    sum.values += part.bytes().values;
    sum.scales += part.bytes().scales;
  }
  return sum;
}

std::span<const Scheme* const> all_schemes() {
  static const Scheme* const kSchemes[] = {
#define TM_SCHEME(name) &name##_scheme(),
#include "schemes/all_schemes.def"
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
  if (const Scheme* stack = find_stacked_scheme(wanted)) return *stack;
  throw Error(Errc::kBadArgument, "scheme '{}': there is no such scheme; there are {}", wanted, names);
}

}  // namespace trimeter
