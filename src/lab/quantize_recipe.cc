#include "lab/quantize_recipe.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/error.h"
#include "containers/container.h"
#include "model/layer_quantizer.h"
#include "spec/ledger.h"
#include "spec/mixed_format.h"

namespace trimeter {
namespace {

bool smooths(const Format& format) { return find_algorithm(format).scaling == Scaling::kSmoothQuant; }
bool is_gptq(const Format& format) { return find_algorithm(format).rounding == Rounding::kGptq; }
bool has_static_inputs(const Format& format) { return scheme(format.scheme).info().static_input; }

void want_use(bool given, const char* option, const Format& format, bool (*has_use)(const Format&)) {
  if (!given || has_use(format)) return;
  std::vector<std::string> names;
  for (const Format& row : all_formats())
    if (has_use(row)) names.push_back(row.name);
  throw Error(Errc::kBadArgument, "{}: format {} has no use for it; wanted {}", option, format.name,
              fmt::join(names, " or "));
}

void want_range(const std::optional<double>& value, const char* option, double low, double high, bool low_is_open,
                bool high_is_open) {
  if (!value) return;
  const bool inside = (low_is_open ? *value > low : *value >= low) && (high_is_open ? *value < high : *value <= high);
  if (!inside)
    throw Error(Errc::kBadArgument, "{} {}: wanted a number in {}{}, {}{}", option, *value, low_is_open ? '(' : '[',
                low, high, high_is_open ? ')' : ']');
}

// The format's scheme with other traits.
void set_scheme(Format& format, const SchemeTraits& traits, const std::string& option) {
  format.scheme = scheme_of(traits, option).info().name;
}

void set_group_size(Format& format, int64_t group_size) {
  const std::string option = fmt::format("--group-size {}", group_size);
  const SchemeTraits* found = traits_of(scheme(format.scheme));
  if (found == nullptr || found->type != SchemeTraits::Type::kInt || found->inputs != SchemeTraits::Inputs::k16Bit)
    throw Error(Errc::kBadArgument, "{}: the scheme of {} has no groups", option, format.name);
  if (group_size < -1) throw Error(Errc::kBadArgument, "{}: wanted a positive number, or -1 for a whole row", option);
  SchemeTraits traits = *found;
  traits.scales = group_size < 0 ? SchemeTraits::Scales::kChannel : SchemeTraits::Scales::kGroup;
  traits.group_size = std::max<int64_t>(group_size, 0);
  set_scheme(format, traits, option);
}

// Of a whole row the order needs no saying; static groups are of neighbours.
void set_act_order(Format& format) {
  SchemeTraits traits = *traits_of(scheme(format.scheme));
  if (traits.scales != SchemeTraits::Scales::kGroup) return;
  traits.act_order = true;
  set_scheme(format, traits, "--act-order");
}

void set_container(Format& format, const std::string& name) {
  if (find_container(name) == nullptr) {
    std::vector<std::string_view> names;
    for (const Container* container : all_containers()) names.push_back(container->name());
    throw Error(Errc::kBadArgument, "--container {}: there is no such container; there are {}", name,
                fmt::join(names, ", "));
  }
  format.container = name;
}

void check_kv_cache(const Format& format) {
  if (!format.kv_dtype) return;
  if (format.kv_dtype != DType::kF8E4M3)
    throw Error(Errc::kUnsupported,
                "format {}: checkpoints have no words for such a KV cache: it is chosen when the model runs",
                format.name);
  const Container* container = find_container(format.container);
  if (container != nullptr && container->holds_kv_scales()) return;
  throw Error(Errc::kUnsupported,
              "format {}: {} has no place for the scales of an fp8 KV cache; --container compressed-tensors has one",
              format.name, format.container);
}

}  // namespace

void check_options(const QuantizeRecipe& recipe, const Format& format) {
  want_use(recipe.alpha.has_value(), "--alpha", format, smooths);
  want_use(recipe.act_order, "--act-order", format, is_gptq);
  want_use(recipe.static_groups, "--static-groups", format, is_gptq);
  want_use(recipe.search_range, "--search-range", format, is_gptq);
  want_use(recipe.damp.has_value(), "--damp", format, is_gptq);
  want_use(recipe.activation_scale.has_value(), "--activation-scale", format, has_static_inputs);
  want_use(recipe.percentile.has_value(), "--percentile", format, has_static_inputs);
  want_range(recipe.alpha, "--alpha", 0, 1, false, false);
  want_range(recipe.damp, "--damp", 0, 1, true, true);
  want_range(recipe.percentile, "--percentile", 0, 100, true, false);
  if (recipe.static_groups && !recipe.act_order)
    throw Error(Errc::kBadArgument, "--static-groups: wanted --act-order with it: groups in order are static anyway");
  if (recipe.percentile && recipe.activation_scale != ActivationOptions::Range::kPercentile)
    throw Error(Errc::kBadArgument, "--percentile: wanted --activation-scale percentile with it");
}

Format recipe_format(const QuantizeRecipe& recipe, const ModelSpec& model) {
  Format format = trimeter::format(recipe.format);
  check_options(recipe, format);
  if (recipe.group_size != 0) set_group_size(format, recipe.group_size);
  if (recipe.act_order && !recipe.static_groups) set_act_order(format);
  if (!recipe.container.empty()) set_container(format, recipe.container);
  check_kv_cache(format);
  return recipe.keep_16bit.empty() ? format : keep_16bit(model, std::move(format), recipe.keep_16bit);
}

LoadOptions algorithm_options(const QuantizeRecipe& recipe) {
  LoadOptions options;
  options.smoothquant.alpha = recipe.alpha;
  options.gptq.act_order = recipe.act_order;
  options.gptq.static_groups = recipe.static_groups;
  options.gptq.search_range = recipe.search_range;
  options.gptq.damping = recipe.damp.value_or(options.gptq.damping);
  options.activations.range = recipe.activation_scale.value_or(options.activations.range);
  options.activations.percentile = recipe.percentile.value_or(options.activations.percentile);
  return options;
}

}  // namespace trimeter
