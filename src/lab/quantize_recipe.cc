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

bool is_dense(const Scheme& scheme) {
  const DType dtypes[] = {DType::kBF16, DType::kF16, DType::kF32};
  return std::any_of(std::begin(dtypes), std::end(dtypes),
                     [&](DType dtype) { return &dense_scheme(dtype) == &scheme; });
}
bool in_gguf(const Format& format) { return format.container == "gguf"; }

// A format as it was named, or what became of it.
std::string described(const Format& format) {
  const Format named = trimeter::format(format.name);
  if (named.scheme == format.scheme && named.algorithm == format.algorithm) return format.name;
  return fmt::format("{} as {} on {}", format.name, format.algorithm, format.scheme);
}

void want_use(bool given, const char* option, const Format& format, bool (*has_use)(const Format&)) {
  if (!given || has_use(format)) return;
  std::vector<std::string> names;
  for (const Format& row : all_formats())
    if (has_use(row)) names.push_back(row.name);
  throw Error(Errc::kBadArgument, "{}: format {} has no use for it; wanted {}", option, described(format),
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
void set_traits(Format& format, const SchemeTraits& traits, const std::string& option) {
  format.scheme = scheme_of(traits, option).info().name;
}

template <class Named>
std::string names_of(const Named& all) {
  std::vector<std::string_view> names;
  for (const auto& one : all) names.push_back(one.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

void set_scheme(Format& format, const std::string& wanted) {
  std::vector<SchemeInfo> known;
  for (const Scheme* scheme : all_schemes())
    if (is_dense(*scheme) || traits_of(*scheme) != nullptr) known.push_back(scheme->info());
  if (std::none_of(known.begin(), known.end(), [&](const SchemeInfo& info) { return info.name == wanted; }))
    throw Error(Errc::kBadArgument, "--scheme {}: there is no such scheme outside GGUF; there are {}", wanted,
                names_of(known));
  format.scheme = wanted;
}

void set_algorithm(Format& format, const std::string& wanted) {
  const std::span<const Algorithm> known = all_algorithms();
  if (std::none_of(known.begin(), known.end(), [&](const Algorithm& algorithm) { return algorithm.name == wanted; }))
    throw Error(Errc::kBadArgument, "--algorithm {}: there is no such algorithm; there are {}", wanted,
                names_of(known));
  format.algorithm = wanted;
}

void set_container(Format& format, const std::string& name) {
  if (find_container(name) == nullptr && name != kDenseContainer) {
    std::vector<std::string_view> names = {kDenseContainer};
    for (const Container* container : all_containers()) names.push_back(container->name());
    throw Error(Errc::kBadArgument, "--container {}: there is no such container; there are {}", name,
                fmt::join(names, ", "));
  }
  format.container = name;
}

void set_group_size(Format& format, int64_t group_size) {
  const std::string option = fmt::format("--group-size {}", group_size);
  const SchemeTraits* found = traits_of(scheme(format.scheme));
  if (found == nullptr || found->type != SchemeTraits::Type::kInt || found->inputs != SchemeTraits::Inputs::k16Bit)
    throw Error(Errc::kBadArgument, "{}: the scheme of {} has no groups", option, described(format));
  if (group_size < -1) throw Error(Errc::kBadArgument, "{}: wanted a positive number, or -1 for a whole row", option);
  SchemeTraits traits = *found;
  traits.scales = group_size < 0 ? SchemeTraits::Scales::kChannel : SchemeTraits::Scales::kGroup;
  traits.group_size = std::max<int64_t>(group_size, 0);
  set_traits(format, traits, option);
}

void set_zero_points(Format& format, bool zero_points) {
  const char* option = zero_points ? "--zero-points" : "--no-zero-points";
  const SchemeTraits* found = traits_of(scheme(format.scheme));
  if (found == nullptr) throw Error(Errc::kBadArgument, "{}: the scheme of {} has no codes", option, described(format));
  SchemeTraits traits = *found;
  traits.zero_points = zero_points;
  set_traits(format, traits, option);
}

// Of a whole row the order needs no saying; static groups are of neighbours.
void set_act_order(Format& format) {
  SchemeTraits traits = *traits_of(scheme(format.scheme));
  if (traits.scales != SchemeTraits::Scales::kGroup) return;
  traits.act_order = true;
  set_traits(format, traits, "--act-order");
}

void check_gguf(const QuantizeRecipe& recipe, const Format& format) {
  const std::pair<bool, const char*> options[] = {{!recipe.scheme.empty(), "--scheme"},
                                                  {!recipe.algorithm.empty(), "--algorithm"},
                                                  {!recipe.container.empty(), "--container"},
                                                  {recipe.group_size != 0, "--group-size"},
                                                  {recipe.zero_points.has_value(), "--zero-points"},
                                                  {!recipe.keep_16bit.empty(), "--keep-16bit"},
                                                  {format.kv_dtype.has_value(), "a KV cache in 8 bits"}};
  for (const auto& [given, option] : options)
    if (given)
      throw Error(Errc::kBadArgument, "{}: {} has no place: a GGUF file's types are those of its mixture", format.name,
                  option);
}

void check_is_written(const Format& format) {
  if (!is_written(format))
    throw Error(Errc::kUnsupported, "format {}: its container is '{}', which cannot be written", format.name,
                format.container);
}

void check_algorithm(const Format& format) {
  const std::string reason = refuses(find_algorithm(format), scheme(format.scheme));
  if (!reason.empty())
    throw Error(Errc::kBadArgument, "format {}: algorithm {} makes no sense on scheme {}: {}", format.name,
                format.algorithm, format.scheme, reason);
}

void check_kv_cache(const Format& format) {
  if (!format.kv_dtype) return;
  if (format.kv_dtype != DType::kF8E4M3)
    throw Error(
        Errc::kUnsupported,
        "format {}: no checkpoint can ask for an int8 KV cache, whose scales are of each token: quantize to '{}', "
        "then run that with --format own+kv-int8",
        format.name, without_kv_format(format.name));
  const Container* container = find_container(format.container);
  if (container != nullptr && container->holds_kv_scales()) return;
  throw Error(Errc::kUnsupported,
              "format {}: {} has no place for the scales of an fp8 KV cache; --container compressed-tensors has one",
              format.name, format.container);
}

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

}  // namespace

Format recipe_format(const QuantizeRecipe& recipe) {
  Format format = trimeter::format(recipe.format);
  if (format.scheme_of_module.contains(std::string(kLmHeadModule)))
    throw Error(Errc::kUnsupported, "format {}: lm_head is quantized where a model is loaded, not in files",
                format.name);
  if (in_gguf(format)) {
    check_gguf(recipe, format);
    check_options(recipe, format);
    return format;
  }
  if (!recipe.scheme.empty()) set_scheme(format, recipe.scheme);
  if (!recipe.algorithm.empty()) set_algorithm(format, recipe.algorithm);
  if (!recipe.container.empty()) set_container(format, recipe.container);
  if (recipe.group_size != 0) set_group_size(format, recipe.group_size);
  if (recipe.zero_points) set_zero_points(format, *recipe.zero_points);
  check_is_written(format);
  check_algorithm(format);
  check_options(recipe, format);
  if (recipe.act_order && !recipe.static_groups) set_act_order(format);
  check_kv_cache(format);
  return format;
}

Format recipe_format(const QuantizeRecipe& recipe, const ModelSpec& model) {
  Format format = recipe_format(recipe);
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
