// GPTQ's layout (AutoGPTQ, GPTQModel; vLLM quantization/gptq.py), out = N, in = K, group g, b bits, 32/b codes a word,
// the first in its lowest bits:
//   qweight  I32 [K b/32, N]    down a column: word r holds rows r 32/b ...
//   qzeros   I32 [K/g, N b/32]  along a row; checkpoint_format "gptq" (v1) stores z - 1, "gptq_v2" z itself
//   scales   F16 [K/g, N]       F32 is rounded (packing.h)
//   g_idx    I32 [K]            the group of each input; k / g unless desc_act
//   w[n, k] = (q - z[g_idx[k]]) * s[g_idx[k]];  sym: z is the middle, 2^(b-1)
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "containers/config_parsers.h"
#include "containers/containers.h"
#include "containers/module_lists.h"
#include "containers/packing.h"

namespace trimeter {
namespace {

constexpr std::string_view kSuffixes[] = {".qweight", ".qzeros", ".scales", ".g_idx"};

class Gptq final : public Container {
 public:
  // zero_offset: z minus what is stored.
  Gptq(std::string_view name, std::string_view checkpoint_format, int zero_offset)
      : name_(name), checkpoint_format_(checkpoint_format), zero_offset_(zero_offset) {}
  std::string_view name() const override { return name_; }
  std::span<const std::string_view> suffixes() const override { return kSuffixes; }
  std::string refuses(const StoredMatrix& matrix) const override;
  std::string refuses_to_write(const StoredMatrix& matrix) const override;
  CanonicalWeight read(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool& pool) const override;
  std::vector<TensorInfo> tensors(const StoredMatrix& matrix) const override;
  void write(const CanonicalWeight& weight, const StoredMatrix& matrix, const EmitTensor& emit) const override;
  std::string config(const ModelSpec& model, const Format& format) const override;

 private:
  void read_zeros(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool& pool,
                  CanonicalWeight& weight) const;

  const std::string_view name_, checkpoint_format_;
  const int zero_offset_;
};

std::string Gptq::refuses(const StoredMatrix& matrix) const {
  const SchemeTraits& t = matrix.traits;
  const bool groups = t.scales == SchemeTraits::Scales::kGroup || t.scales == SchemeTraits::Scales::kChannel;
  if (t.type != SchemeTraits::Type::kInt || !groups || t.inputs != SchemeTraits::Inputs::k16Bit)
    return fmt::format("it holds int4 and int8 weights in groups, not {}", t.text());
  const int per_word = 32 / t.bits;
  for (const int64_t size : {matrix.shape.out, matrix.shape.in})
    if (size % per_word != 0) return fmt::format("{} is not a multiple of {}", size, per_word);
  return "";
}

std::string Gptq::refuses_to_write(const StoredMatrix& matrix) const {
  if (zero_offset_ == 0 || !matrix.traits.zero_points) return refuses(matrix);
  return "checkpoint_format 'gptq' has no zero point of 0, and gptqmodel takes zero points in it from itself alone; "
         "--container gptq-v2 has all, and it reads those";
}

// Symmetric: the stored zero points must be the middle. v1's code of all ones would be a zero point of 2^b, or, where
// packers let z - 1 wrap around, of 0.
void Gptq::read_zeros(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool& pool,
                      CanonicalWeight& weight) const {
  const SchemeTraits& traits = matrix.traits;
  const int64_t out = matrix.shape.out, n_groups = traits.n_groups(matrix.shape.in), per_word = 32 / traits.bits;
  const TensorView& tensor = stored_tensor(checkpoint, matrix, ".qzeros", DType::kI32, {n_groups, out / per_word});
  std::vector<uint8_t> zeros(out * n_groups);
  unpack_words(tensor, traits.bits, pool,
               [&](int64_t g, int64_t c, int i, uint8_t zero) { zeros[(c * per_word + i) * n_groups + g] = zero; });
  const int max_code = 2 * traits.middle() - 1;
  for (uint8_t& zero : zeros) {
    const int stored = zero, value = stored + zero_offset_;
    if (!traits.zero_points && value != traits.middle())
      throw Error(Errc::kBadFile, "{}: tensor '{}': wanted {} alone, as sym is true, got {}",
                  tensor.file->path().string(), tensor.name, traits.middle() - zero_offset_, stored);
    if (value > max_code)
      throw Error(Errc::kUnsupported,
                  "{}: tensor '{}': wanted stored zero points up to {}, got {}: in checkpoint_format 'gptq' readers "
                  "disagree about it",
                  tensor.file->path().string(), tensor.name, max_code - zero_offset_, stored);
    zero = static_cast<uint8_t>(value);
  }
  if (traits.zero_points) weight.zeros = std::move(zeros);
}

CanonicalWeight Gptq::read(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool& pool) const {
  const auto [out, in] = matrix.shape;
  const int bits = matrix.traits.bits, per_word = 32 / bits;
  const int64_t n_groups = matrix.traits.n_groups(in), width = in;
  CanonicalWeight weight;
  weight.shape = matrix.shape;
  weight.codes.resize(out * in);
  const TensorView& codes = stored_tensor(checkpoint, matrix, ".qweight", DType::kI32, {in / per_word, out});
  unpack_words(codes, bits, pool, [&](int64_t r, int64_t row, int i, uint8_t code) {
    weight.codes[row * width + r * per_word + i] = code;
  });
  read_zeros(checkpoint, matrix, pool, weight);
  weight.scales = read_scales(checkpoint, matrix, ".scales", {n_groups, out}, true);
  weight.scale_dtype = to_16_bits(checkpoint, matrix, ".scales", weight.scales);
  if (matrix.traits.act_order || checkpoint.has(matrix.module + ".g_idx"))
    weight.group_of_input = read_order(checkpoint, matrix, ".g_idx");
  return weight;
}

std::vector<TensorInfo> Gptq::tensors(const StoredMatrix& matrix) const {
  const auto [out, in] = matrix.shape;
  const int64_t per_word = 32 / matrix.traits.bits, n_groups = matrix.traits.n_groups(in);
  return {{matrix.module + ".qweight", DType::kI32, {in / per_word, out}},
          {matrix.module + ".qzeros", DType::kI32, {n_groups, out / per_word}},
          {matrix.module + ".scales", DType::kF16, {n_groups, out}},
          {matrix.module + ".g_idx", DType::kI32, {in}}};
}

void Gptq::write(const CanonicalWeight& weight, const StoredMatrix& matrix, const EmitTensor& emit) const {
  const auto [out, in] = matrix.shape;
  const SchemeTraits& traits = matrix.traits;
  const int64_t per_word = 32 / traits.bits, n_groups = traits.n_groups(in), width = in;
  const std::vector<TensorInfo> infos = tensors(matrix);
  const auto code = [&](int64_t r, int64_t row, int i) { return weight.codes[row * width + r * per_word + i]; };
  emit(infos[0], bytes_of(pack_words(in / per_word, out, traits.bits, code)));
  const auto zero = [&](int64_t g, int64_t c, int i) {
    return (traits.zero_points ? weight.zeros[(c * per_word + i) * n_groups + g] : traits.middle()) - zero_offset_;
  };
  emit(infos[1], bytes_of(pack_words(n_groups, out / per_word, traits.bits, zero)));
  emit(infos[2], encoded(transposed(weight.scales, out, n_groups), DType::kF16));
  std::vector<int32_t> groups = weight.group_of_input;
  for (int64_t k = std::ssize(groups); k < in; ++k) groups.push_back(static_cast<int32_t>(k / (in / n_groups)));
  emit(infos[3], bytes_of(groups));
}

// The module and the fused one that holds it: a rule is matched against either, as readers differ.
std::string rule_for(const LinearSpec& linear) {
  std::string names, prefix = module_name(linear);
  prefix.resize(prefix.rfind('.') + 1);
  for (const LinearPart& part : linear.parts) names += "|" + module_of(part).substr(prefix.size());
  for (size_t at = 0; (at = prefix.find('.', at)) != prefix.npos; at += 2) prefix.insert(at, "\\");
  return fmt::format("-:^{}({}{})$", prefix, name(linear.role), linear.parts.size() > 1 ? names : "");
}

std::string Gptq::config(const ModelSpec& model, const Format& format) const {
  const SchemeTraits traits = only_traits(model, format);
  nlohmann::ordered_json json = {{"quant_method", "gptq"},
                                 {"bits", traits.bits},
                                 {"group_size", written_group_size(traits)},
                                 {"desc_act", traits.act_order},
                                 {"sym", !traits.zero_points},
                                 {"lm_head", false},
                                 {"checkpoint_format", checkpoint_format_},
                                 {"pack_dtype", "int32"}};
  for (const LinearSpec& linear : model.linears())
    if (stored_matrices(model, format, linear).empty())
      json["dynamic"][rule_for(linear)] = nlohmann::ordered_json::object();
  return json.dump();
}

SchemeTraits gptq_traits(const Fields& config, const SchemeTraits& base) {
  SchemeTraits traits = base;
  traits.bits = static_cast<int>(config.integer("bits", 1, 64).value_or(base.bits));
  if (traits.bits != 4 && traits.bits != 8) config.unsupported("bits", "4 or 8", traits.bits);
  const int64_t base_group = written_group_size(base);
  const int64_t group_size = config.integer("group_size", -1, int64_t{1} << 20).value_or(base_group);
  if (group_size == 0) config.fail("group_size", "-1 or a positive number", 0);
  traits.scales = group_size < 0 ? SchemeTraits::Scales::kChannel : SchemeTraits::Scales::kGroup;
  traits.group_size = std::max<int64_t>(group_size, 0);
  traits.zero_points = !config.boolean("sym").value_or(!base.zero_points);
  // One group has one order.
  traits.act_order = config.boolean("desc_act").value_or(base.act_order) && group_size > 0;
  return traits;
}

struct Rule {
  std::function<bool(const std::string&)> matches;
  std::optional<SchemeTraits> traits;  // nullopt: matched modules are in floats
};

// In their order the first that matches decides.
std::vector<Rule> read_rules(const Fields& config, const std::string& text, const SchemeTraits& base) {
  std::vector<Rule> rules;
  const std::optional<Fields> dynamic = config.object("dynamic");
  if (!dynamic) return rules;
  const auto ordered = nlohmann::ordered_json::parse(text)["dynamic"];
  for (const auto& [key, ignored] : ordered.items()) {
    const bool out = key.starts_with("-:");
    const std::string pattern = out || key.starts_with("+:") ? key.substr(2) : key;
    const std::optional<Fields> override = dynamic->object(key.c_str());
    if (!override) dynamic->missing(key.c_str(), "an object");
    if (out && !ordered[key].empty()) dynamic->fail(key.c_str(), "{}, as '-:' leaves a module in floats", ordered[key]);
    for (const char* layout : {"checkpoint_format", "format", "quant_method", "pack_dtype"})
      if (const nlohmann::json* other = override->find(layout))
        override->unsupported(layout, "that of all modules", *other);
    rules.push_back(
        {regex_matcher(pattern, override->where()), out ? std::nullopt : std::optional(gptq_traits(*override, base))});
  }
  return rules;
}

// modules_in_block_to_quantize: lists of lists of names within a layer; empty: all.
std::vector<std::string> read_inside_layers(const Fields& config) {
  std::vector<std::string> names;
  const nlohmann::json* lists = config.find("modules_in_block_to_quantize");
  if (lists == nullptr) return names;
  const char* wanted = "a list of lists of strings";
  if (!lists->is_array()) config.fail("modules_in_block_to_quantize", wanted, *lists);
  for (const nlohmann::json& list : *lists) {
    if (!list.is_array()) config.fail("modules_in_block_to_quantize", wanted, list);
    for (const nlohmann::json& name : list) {
      if (!name.is_string()) config.fail("modules_in_block_to_quantize", wanted, name);
      names.push_back("." + name.get<std::string>());
    }
  }
  return names;
}

// GPTQModel has two names for it.
std::string read_layout(const Fields& config) {
  std::optional<std::string> layout;
  for (const char* key : {"checkpoint_format", "format"}) {
    const std::optional<std::string> found = config.string(key);
    if (!found) continue;
    if (*found != "gptq" && *found != "gptq_v2") config.unsupported(key, "gptq or gptq_v2", *found);
    if (layout && *found != *layout)
      config.fail(key, fmt::format("'{}', as 'checkpoint_format' has it", *layout), *found);
    layout = found;
  }
  return layout.value_or("gptq");
}

}  // namespace

StoredQuantization parse_gptq(const Fields& config, const std::string& text) {
  config.required_integer("bits", 1, 64);
  config.required_integer("group_size", -1, int64_t{1} << 20);
  const SchemeTraits base = gptq_traits(config, {});
  const std::string layout = read_layout(config);
  if (const std::string word = config.string("pack_dtype").value_or("int32"); word != "int32")
    config.unsupported("pack_dtype", "int32", word);
  const bool lm_head = config.boolean("lm_head").value_or(false);
  return {.container = layout == "gptq" ? "gptq" : "gptq-v2",
          .traits_of = [base, lm_head, rules = read_rules(config, text, base),
                        inside = read_inside_layers(config)](const std::string& module) -> std::optional<SchemeTraits> {
            for (const Rule& rule : rules)
              if (rule.matches(module)) return rule.traits;
            if (module == "lm_head") return lm_head ? std::optional(base) : std::nullopt;
            const auto is_suffix = [&](const std::string& name) { return module.ends_with(name); };
            if (!inside.empty() && std::ranges::none_of(inside, is_suffix)) return std::nullopt;
            return base;
          }};
}

const Container& gptq_container() {
  static const Gptq container("gptq", "gptq", 1);
  return container;
}

const Container& gptq_v2_container() {
  static const Gptq container("gptq-v2", "gptq_v2", 0);
  return container;
}

}  // namespace trimeter
