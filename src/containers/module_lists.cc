#include "containers/module_lists.h"

#include <algorithm>

#include "base/error.h"
#include "spec/ledger.h"

namespace trimeter {

std::vector<std::string> dense_modules(const ModelSpec& model, const Format& format) {
  std::vector<std::string> modules;
  for (const LinearSpec& linear : model.linears())
    if (traits_of(linear_scheme(model, format, linear)) == nullptr)
      for (const LinearPart& part : linear.parts) modules.push_back(module_of(part));
  return modules;
}

std::vector<QuantizedModules> quantized_modules(const ModelSpec& model, const Format& format) {
  std::vector<LinearSpec> linears = model.linears();
  linears.push_back(model.lm_head());
  std::vector<QuantizedModules> groups;
  for (const LinearSpec& linear : linears) {
    const Scheme& scheme = linear_scheme(model, format, linear);
    const SchemeTraits* traits = traits_of(scheme);
    if (traits == nullptr) continue;
    auto group = std::ranges::find(groups, &scheme, &QuantizedModules::scheme);
    if (group == groups.end()) group = groups.insert(group, {&scheme, *traits, {}});
    for (const LinearPart& part : linear.parts) group->modules.push_back(module_of(part));
  }
  std::ranges::stable_sort(groups, std::ranges::greater(), [](const QuantizedModules& g) { return g.modules.size(); });
  return groups;
}

SchemeTraits only_traits(const ModelSpec& model, const Format& format) {
  const std::vector<QuantizedModules> groups = quantized_modules(model, format);
  if (groups.size() != 1)
    throw Error(Errc::kUnsupported, "format {}: {} has words for one scheme, got {}", format.name, format.container,
                groups.size());
  return groups[0].traits;
}

int64_t written_group_size(const SchemeTraits& traits) {
  return traits.scales == SchemeTraits::Scales::kGroup ? traits.group_size : -1;
}

}  // namespace trimeter
