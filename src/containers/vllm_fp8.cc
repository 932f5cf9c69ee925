// vLLM's "fp8" (AutoFP8, DeepSeek; vllm quantization/fp8.py), out = N, in = K:
//   weight  F8_E4M3 [N, K]
//   weight_scale  F32, one for the tensor; input_scale F32, one, if activation_scheme is static
//   weight_scale_inv  F32 [ceil(N/128), ceil(K/128)] if there is a weight_block_size: it multiplies, whatever its name
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "containers/config_parsers.h"
#include "containers/containers.h"
#include "containers/module_lists.h"
#include "containers/packing.h"

namespace trimeter {
namespace {

using Scales = SchemeTraits::Scales;
using Inputs = SchemeTraits::Inputs;

constexpr std::string_view kSuffixes[] = {".weight", ".weight_scale", ".weight_scale_inv", ".input_scale"};

constexpr const char* kStaticKv = "static";  // AutoFP8's word: the scales of an fp8 KV cache are in the checkpoint

std::string scale_suffix(const SchemeTraits& traits) {
  return traits.scales == Scales::kBlock ? ".weight_scale_inv" : ".weight_scale";
}

class VllmFp8 final : public Container {
 public:
  std::string_view name() const override { return "vllm-fp8"; }
  std::span<const std::string_view> suffixes() const override { return kSuffixes; }

  std::string refuses(const StoredMatrix& matrix) const override {
    const SchemeTraits& t = matrix.traits;
    const bool tensor = t.scales == Scales::kTensor && t.inputs != Inputs::k16Bit;
    const bool block = t.scales == Scales::kBlock && t.inputs == Inputs::kPerToken;
    if (t.type == SchemeTraits::Type::kFloat && (tensor || block)) return "";
    return fmt::format("it holds fp8 weights per-tensor or in blocks, with fp8 activations, not {}", t.text());
  }

  CanonicalWeight read(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool&) const override {
    CanonicalWeight weight;
    weight.shape = matrix.shape;
    weight.codes =
        read_e4m3(stored_tensor(checkpoint, matrix, ".weight", DType::kF8E4M3, {matrix.shape.out, matrix.shape.in}));
    read_weight_scales(checkpoint, matrix, scale_suffix(matrix.traits), weight);
    if (matrix.traits.inputs == Inputs::kStatic)
      weight.input_scale = read_scale(checkpoint, matrix.module + ".input_scale");
    return weight;
  }

  std::vector<TensorInfo> tensors(const StoredMatrix& matrix) const override {
    std::vector<TensorInfo> infos = {{matrix.module + ".weight", DType::kF8E4M3, {matrix.shape.out, matrix.shape.in}},
                                     {matrix.module + scale_suffix(matrix.traits), DType::kF32, scales_shape(matrix)}};
    if (matrix.traits.inputs == Inputs::kStatic) infos.push_back({matrix.module + ".input_scale", DType::kF32, {1}});
    return infos;
  }

  void write(const CanonicalWeight& weight, const StoredMatrix& matrix, const EmitTensor& emit) const override {
    const std::vector<TensorInfo> infos = tensors(matrix);
    emit(infos[0], bytes_of(weight.codes));
    emit(infos[1], bytes_of(weight.scales));
    if (infos.size() > 2) emit(infos[2], encoded({weight.input_scale}, DType::kF32));
  }

  bool holds_kv_scales() const override { return true; }

  std::string config(const ModelSpec& model, const Format& format) const override {
    const SchemeTraits traits = only_traits(model, format);
    nlohmann::ordered_json json = {{"quant_method", "fp8"},
                                   {"activation_scheme", traits.inputs == Inputs::kStatic ? "static" : "dynamic"}};
    if (traits.scales == Scales::kBlock) json["weight_block_size"] = {kScaleBlock, kScaleBlock};
    std::vector<std::string> ignored = dense_modules(model, format);
    ignored.push_back("lm_head");
    json["ignored_layers"] = ignored;
    if (format.kv_dtype == DType::kF8E4M3) json["kv_cache_scheme"] = kStaticKv;
    return json.dump();
  }
};

}  // namespace

StoredQuantization parse_vllm_fp8(const Fields& config) {
  SchemeTraits traits{.type = SchemeTraits::Type::kFloat, .bits = 8, .scales = Scales::kTensor};
  const std::string scheme = config.required_string("activation_scheme");
  if (scheme != "static" && scheme != "dynamic") config.unsupported("activation_scheme", "static or dynamic", scheme);
  traits.inputs = scheme == "static" ? Inputs::kStatic : Inputs::kPerToken;
  if (const nlohmann::json* block = config.find("weight_block_size")) {
    if (*block != nlohmann::json({kScaleBlock, kScaleBlock}))
      config.unsupported("weight_block_size", "[128, 128]", *block);
    if (traits.inputs == Inputs::kStatic) config.unsupported("activation_scheme", "dynamic, with blocks", scheme);
    traits.scales = Scales::kBlock;
  }
  if (const auto layout = config.string("fmt"); layout && *layout != "e4m3") config.unsupported("fmt", "e4m3", *layout);
  const std::optional<std::string> kv_scheme = config.string("kv_cache_scheme");
  if (kv_scheme && *kv_scheme != kStaticKv) config.unsupported("kv_cache_scheme", kStaticKv, *kv_scheme);
  std::vector<std::string> ignored = config.strings("ignored_layers");
  for (std::string& module : config.strings("modules_to_not_convert")) ignored.push_back(std::move(module));
  // A name, the end of one, or a module that holds it.
  const auto is_ignored = [ignored](const std::string& module) {
    return std::ranges::any_of(ignored, [&](const std::string& entry) {
      return module == entry || module.ends_with("." + entry) || module.starts_with(entry + ".");
    });
  };
  return {.container = "vllm-fp8",
          .traits_of = [=](const std::string& module) -> std::optional<SchemeTraits> {
            if (module == "lm_head" || is_ignored(module)) return std::nullopt;
            return traits;
          },
          .kv_fp8 = kv_scheme.has_value()};
}

const Container& vllm_fp8_container() {
  static const VllmFp8 container;
  return container;
}

}  // namespace trimeter
