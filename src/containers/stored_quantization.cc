#include "containers/stored_quantization.h"

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "containers/config_parsers.h"
#include "containers/container.h"
#include "io/file.h"
#include "io/hf_config.h"
#include "io/json.h"
#include "spec/ledger.h"
#include "text/regex.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kMaxConfigBytes = int64_t{1} << 24;

struct Source {
  std::string json, where;
};

// A file of its own names no quant_method: it is the one method's whose quantizer writes such a file.
std::optional<Source> separate_config(const fs::path& path, const char* quant_method) {
  if (std::error_code ignored; !fs::exists(path, ignored)) return std::nullopt;
  const std::string text = read_file(path, kMaxConfigBytes);
  const json checked = parse_json(text, path.string());
  if (!checked.is_object())
    throw Error(Errc::kBadFile, "{}: wanted an object, got {}", path.string(), printable_json(checked));
  auto object = nlohmann::ordered_json::parse(text);
  if (!object.contains("quant_method")) object["quant_method"] = quant_method;
  return Source{object.dump(), path.string()};
}

std::optional<Source> find_config(const fs::path& directory) {
  const HfConfig config = read_hf_config(directory);
  if (!config.quantization.empty()) return Source{config.quantization, config.path + ": field 'quantization_config'"};
  if (auto found = separate_config(directory / "quantize_config.json", "gptq")) return found;
  return separate_config(directory / "quant_config.json", "awq");
}

// Of a fused linear: what all its parts have.
std::optional<SchemeTraits> traits_of_linear(const StoredQuantization& stored, const LinearSpec& linear,
                                             const std::string& where) {
  const std::string first = module_of(linear.parts[0]);
  const std::optional<SchemeTraits> traits = stored.traits_of(first);
  const auto text = [](const std::optional<SchemeTraits>& t) { return t ? t->text() : "16-bit floats"; };
  for (const LinearPart& part : linear.parts)
    if (const auto other = stored.traits_of(module_of(part)); other != traits)
      throw Error(Errc::kUnsupported,
                  "{}: {} and {} are multiplied as one: wanted the same quantization for both, got {} and {}", where,
                  first, module_of(part), text(traits), text(other));
  return traits;
}

// What the scheme or the container can't hold, said of the config that asks for it.
void check_shapes(const Format& format, const LinearSpec& linear, const SchemeTraits& traits,
                  const std::string& where) {
  const auto check = [&](const std::string& module, const std::string& reason) {
    if (!reason.empty()) throw Error(Errc::kUnsupported, "{}: {}: {}", where, module, reason);
  };
  check(module_name(linear), scheme_of(traits, where).refuses(linear.shape));
  for (const LinearPart& part : linear.parts) {
    const StoredMatrix matrix{module_of(part), {part.n_rows, linear.shape.in}, traits};
    check(matrix.module, find_container(format.container)->refuses(matrix));
    if (traits.scales == SchemeTraits::Scales::kBlock && &part != &linear.parts.back() &&
        part.n_rows % kScaleBlock != 0)
      check(matrix.module, fmt::format("out = {} is not a multiple of {}, and more rows follow in the same matrix",
                                       part.n_rows, kScaleBlock));
  }
}

// Floats are in no container: a config may ask for their KV cache alone.
std::string row_name(const Format& stored) {
  const bool dense = traits_of(scheme(stored.scheme)) == nullptr;
  for (const Format& row : all_formats())
    if (row.scheme == stored.scheme && (dense || row.container == stored.container)) return row.name;
  return stored.container + " " + stored.scheme;
}

std::string kv_name(const Format& stored) {
  for (const KvFormat& kv : all_kv_formats())
    if (stored.kv_dtype == kv.dtype) return "+" + kv.name;
  return "";
}

}  // namespace

std::function<bool(const std::string&)> regex_matcher(const std::string& pattern, const std::string& where) {
  const auto regex = std::make_shared<const Regex>(pattern, where);
  return [regex](const std::string& name) {
    size_t begin = 0, end = 0;
    Regex::Search search(*regex);
    search.start(name);
    return search.next(begin, end) && begin == 0;
  };
}

StoredQuantization parse_quantization(const std::string& text, const std::string& where) {
  const json object = parse_json(text, where);
  const Fields config(object, where);
  const std::string method = config.required_string("quant_method");
  if (method == "awq" || method == "gptq")  // they have no such field; compressed-tensors and fp8 do
    if (const json* kv = config.find("kv_cache_scheme")) config.unsupported("kv_cache_scheme", "none", *kv);
  if (method == "awq") return parse_awq(config);
  if (method == "gptq") return parse_gptq(config, text);
  if (method == "compressed-tensors") return parse_compressed_tensors(config);
  if (method == "fp8") return parse_vllm_fp8(config);
  config.unsupported("quant_method", "awq, gptq, compressed-tensors or fp8", method);
}

std::optional<Format> checkpoint_format(const fs::path& directory, const ModelSpec& model) {
  const std::optional<Source> source = find_config(directory);
  if (!source) return std::nullopt;
  const StoredQuantization stored = parse_quantization(source->json, source->where);
  Format format;
  format.algorithm = kStoredAlgorithm;
  format.container = stored.container;
  std::vector<LinearSpec> linears = model.linears();
  if (!model.tie_word_embeddings) linears.push_back(model.lm_head());  // a tied one is the embedding, in floats
  std::map<std::string, std::string> schemes;
  for (const LinearSpec& linear : linears) {
    const auto traits = traits_of_linear(stored, linear, source->where);
    const std::string& scheme = schemes[module_name(linear)] =
        traits ? scheme_of(*traits, fmt::format("{}: {}", source->where, module_name(linear))).info().name
               : dense_scheme(dense_dtype(model, format)).info().name;
    if (traits) check_shapes(format, linear, *traits, source->where);
    if (format.scheme.empty() && traits && linear.role != LinearRole::kLmHead) format.scheme = scheme;
  }
  const std::string dense(dense_scheme(dense_dtype(model, format)).info().name);
  if (format.scheme.empty()) format.scheme = dense;
  for (const auto& [module, scheme] : schemes)
    if (scheme != (module == "lm_head" ? dense : format.scheme)) format.scheme_of_module[module] = scheme;
  if (stored.kv_fp8) format.kv_dtype = DType::kF8E4M3;
  format.kv_scales_stored = stored.kv_fp8;
  format.name = row_name(format) + kv_name(format);
  format.summary = fmt::format("as the checkpoint has it: {} in {}", format.scheme, format.container);
  return format;
}

}  // namespace trimeter
