// compressed-tensors' quantization_config (quantization/quant_config.py, quant_scheme.py, quant_args.py).
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "containers/config_parsers.h"

namespace trimeter {
namespace {

using Type = SchemeTraits::Type;
using Scales = SchemeTraits::Scales;
using Inputs = SchemeTraits::Inputs;
using nlohmann::json;

constexpr int64_t kMaxGroup = int64_t{1} << 20;
constexpr std::string_view kLayouts[] = {"pack-quantized",  "int-quantized",   "float-quantized",
                                         "naive-quantized", "mixed-precision", "dense"};

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

Type read_type(const Fields& args) {
  const std::string type = lower(args.string("type").value_or("int"));
  if (type != "int" && type != "float") args.unsupported("type", "int or float", type);
  return type == "int" ? Type::kInt : Type::kFloat;
}

// Without a strategy the group size says it.
std::string read_strategy(const Fields& args, std::optional<int64_t> group_size) {
  if (const auto strategy = args.string("strategy")) return lower(*strategy);
  return !group_size ? "tensor" : *group_size > 0 ? "group" : "channel";
}

bool read_act_order(const Fields& args) {
  const json* value = args.find("actorder");
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  const std::string order = value->is_string() ? lower(value->get<std::string>()) : "";
  if (order == "group" || order == "dynamic") return true;
  if (order == "weight" || order == "static") return false;  // an order of the calibration alone
  args.unsupported("actorder", "group, weight, static, true or false", *value);
}

bool read_dynamic(const Fields& args) {
  const json* value = args.find("dynamic");
  if (value == nullptr) return false;
  if (!value->is_boolean()) args.unsupported("dynamic", "true or false", *value);
  return value->get<bool>();
}

SchemeTraits read_weights(const Fields& args) {
  args.string("observer");  // any: it was of use to whoever chose the codes
  SchemeTraits traits;
  traits.type = read_type(args);
  traits.bits = static_cast<int>(args.integer("num_bits", 1, 64).value_or(8));
  const bool has_bits = traits.bits == 8 || (traits.bits == 4 && traits.type == Type::kInt);
  if (!has_bits) args.unsupported("num_bits", "4 or 8 (integers), 8 (floats)", traits.bits);
  if (read_dynamic(args)) args.unsupported("dynamic", "false", true);
  const std::optional<int64_t> group_size = args.integer("group_size", -1, kMaxGroup);
  const std::string strategy = read_strategy(args, group_size);
  if (strategy == "tensor") {
    traits.scales = Scales::kTensor;
  } else if (strategy == "channel") {
    traits.scales = Scales::kChannel;
  } else if (strategy == "group") {
    if (!group_size) args.missing("group_size", "a positive number");
    if (*group_size <= 0) args.fail("group_size", "a positive number", *group_size);
    traits.scales = Scales::kGroup;
    traits.group_size = *group_size;
  } else if (strategy == "block") {
    const json* block = args.find("block_structure");
    if (block == nullptr) args.missing("block_structure", "[128, 128]");
    if (*block != json({kScaleBlock, kScaleBlock}) && *block != "128x128")
      args.unsupported("block_structure", "[128, 128]", *block);
    traits.scales = Scales::kBlock;
  } else {
    args.unsupported("strategy", "tensor, channel, group or block", strategy);
  }
  traits.zero_points = !args.boolean("symmetric").value_or(true);
  traits.act_order = read_act_order(args);
  return traits;
}

Inputs read_inputs(const Fields& args, const SchemeTraits& weights) {
  if (read_type(args) != weights.type) args.unsupported("type", "that of the weights", *args.find("type"));
  if (const int64_t bits = args.integer("num_bits", 1, 64).value_or(8); bits != 8)
    args.unsupported("num_bits", "8", bits);
  if (!args.boolean("symmetric").value_or(true)) args.unsupported("symmetric", "true", false);
  const std::optional<int64_t> group_size = args.integer("group_size", -1, kMaxGroup);
  const std::string strategy = read_strategy(args, group_size);
  if (!read_dynamic(args)) {
    if (strategy != "tensor") args.unsupported("strategy", "tensor for static activations", strategy);
    return Inputs::kStatic;
  }
  const bool by_block = weights.scales == Scales::kBlock;  // a scale per token and 128 inputs
  if (by_block ? strategy != "group" || group_size != kScaleBlock : strategy != "token")
    args.unsupported("strategy", by_block ? "group, of 128, for dynamic activations" : "token for dynamic activations",
                     strategy);
  return Inputs::kPerToken;
}

constexpr const char* kLinear = "Linear";

// A target or an entry of the ignore list: a regex, a module's name, or a class of modules: every linear is a Linear.
struct Pattern {
  bool is_class;
  std::function<bool(const std::string&)> matches;
};

Pattern read_pattern(const std::string& text, const std::string& where) {
  if (text.starts_with("re:")) return {false, regex_matcher(text.substr(3), where)};
  if (text == kLinear) return {true, [](const std::string&) { return true; }};
  return {false, [text](const std::string& module) { return module == text; }};
}

std::vector<Pattern> read_patterns(const Fields& fields, const char* key) {
  std::vector<Pattern> patterns;
  for (const std::string& text : fields.strings(key))
    patterns.push_back(read_pattern(text, fmt::format("{}: field '{}'", fields.where(), key)));
  return patterns;
}

// Another class than Linear: what it names would be left in floats in silence.
void check_targets(const Fields& fields) {
  for (const std::string& text : fields.strings("targets"))
    if (text != kLinear && text != "lm_head" && !text.starts_with("re:") && text.find('.') == text.npos)
      fields.unsupported("targets", "Linear, modules' names or regexes", text);
}

std::optional<std::string> read_layout(const Fields& fields) {
  const auto layout = fields.string("format");
  if (layout && std::ranges::find(kLayouts, *layout) == std::end(kLayouts))
    fields.unsupported("format", fmt::format("{}", fmt::join(kLayouts, ", ")), *layout);
  return layout;
}

// What lies otherwise than its numbers say can't be read.
void check_layout_fits(const Fields& fields, const std::string& layout, const SchemeTraits& traits) {
  const bool is_int = traits.type == Type::kInt, has_8_bits = traits.bits == 8;
  const bool fits = layout == "pack-quantized"    ? is_int
                    : layout == "int-quantized"   ? is_int && has_8_bits
                    : layout == "float-quantized" ? !is_int
                    : layout == "naive-quantized" ? has_8_bits
                                                  : layout == "mixed-precision";
  if (!fits)
    fields.fail("format",
                fmt::format("a layout of {}{} weights, as 'weights' has them", is_int ? "int" : "float", traits.bits),
                layout);
}

struct Group {
  std::vector<Pattern> targets;
  std::optional<SchemeTraits> traits;  // nullopt: its weights stay in floats
};

// `layout`: of the whole file, where the group has none of its own.
Group read_group(const Fields& fields, const std::optional<std::string>& layout) {
  const std::optional<std::string> own = read_layout(fields);
  Group group;
  if (fields.find("targets") == nullptr) fields.missing("targets", "a list of strings");
  check_targets(fields);
  group.targets = read_patterns(fields, "targets");
  if (const json* outputs = fields.find("output_activations"))
    fields.unsupported("output_activations", "null", *outputs);
  const std::optional<Fields> weights = fields.object("weights"), inputs = fields.object("input_activations");
  if (!weights) {
    if (inputs) fields.unsupported("weights", "weights quantized with their activations", nullptr);
    return group;
  }
  group.traits = read_weights(*weights);
  if (inputs) group.traits->inputs = read_inputs(*inputs, *group.traits);
  if (own || layout) check_layout_fits(fields, own ? *own : *layout, *group.traits);
  return group;
}

std::vector<Group> read_groups(const Fields& config) {
  const std::optional<std::string> layout = read_layout(config);
  const std::optional<Fields> list = config.object("config_groups");
  if (!list) config.missing("config_groups", "an object");
  std::vector<Group> groups;
  for (const auto& [name, value] : config.find("config_groups")->items())
    groups.push_back(read_group(Fields(value, fmt::format("{}: field '{}'", list->where(), name)), layout));
  return groups;
}

bool read_kv_scheme(const Fields& config) {
  const std::optional<Fields> scheme = config.object("kv_cache_scheme");
  if (!scheme) return false;
  if (read_type(*scheme) != Type::kFloat) scheme->unsupported("type", "float", "int");
  if (const int64_t bits = scheme->integer("num_bits", 1, 64).value_or(8); bits != 8)
    scheme->unsupported("num_bits", "8", bits);
  if (read_dynamic(*scheme)) scheme->unsupported("dynamic", "false", true);
  if (!scheme->boolean("symmetric").value_or(true)) scheme->unsupported("symmetric", "true", false);
  if (const std::string strategy = read_strategy(*scheme, std::nullopt); strategy != "tensor")
    scheme->unsupported("strategy", "tensor", strategy);
  return true;
}

}  // namespace

StoredQuantization parse_compressed_tensors(const Fields& config) {
  for (const char* key : {"sparsity_config", "transform_config"})
    if (const json* value = config.find(key); value != nullptr && !value->empty())
      config.unsupported(key, "null", *value);
  return {.container = "compressed-tensors",
          .traits_of = [groups = read_groups(config), ignore = read_patterns(config, "ignore")](
                           const std::string& module) -> std::optional<SchemeTraits> {
            const auto matches = [&](const Pattern& pattern) { return pattern.matches(module); };
            if (std::ranges::any_of(ignore, matches)) return std::nullopt;
            for (const bool is_class : {false, true})  // a name says more than a class
              for (const Group& group : groups)
                for (const Pattern& target : group.targets)
                  if (target.is_class == is_class && target.matches(module)) return group.traits;
            return std::nullopt;
          },
          .kv_fp8 = read_kv_scheme(config)};
}

}  // namespace trimeter
