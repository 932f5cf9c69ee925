// compressed-tensors (neuralmagic/compressed-tensors, compressors/pack_quantized and naive_quantized), out = N, in = K,
// group g, b bits:
//   pack-quantized   weight_packed      I32 [N, ceil(K b/32)]  along a row, the first code in the lowest bits
//                    weight_scale       [N, K/g] or [N, 1]
//                    weight_zero_point  I32 [ceil(N b/32), K/g] along a column (I8 [N, K/g] in early versions)
//                    weight_shape       I64 [2];  weight_g_idx I32 [K] with actorder "group": read, not written,
//                    since compressed-tensors (0.19) and vLLM have dropped it
//   int-quantized    weight I8 [N, K], weight_scale [N, 1];  float-quantized: weight F8_E4M3 [N, K], weight_scale [1],
//                    [N, 1] or [ceil(N/128), ceil(K/128)];  both: input_scale [1] if activations are static
// Integers are two's complement; packed ones and their zero points have 2^(b-1) added, as our codes have.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "containers/containers.h"
#include "containers/module_lists.h"
#include "containers/packing.h"
#include "spec/ledger.h"

namespace trimeter {
namespace {

using Type = SchemeTraits::Type;
using Scales = SchemeTraits::Scales;
using Inputs = SchemeTraits::Inputs;
using nlohmann::ordered_json;

constexpr std::string_view kSuffixes[] = {".weight",       ".weight_packed", ".weight_scale", ".weight_zero_point",
                                          ".weight_shape", ".weight_g_idx",  ".input_scale",  ".input_zero_point"};
constexpr uint8_t kSignBit = 0x80;

bool is_packed(const SchemeTraits& traits) { return traits.type == Type::kInt && traits.inputs == Inputs::k16Bit; }

int64_t words_for(int64_t n, int bits) { return (n * bits + 31) / 32; }

std::string_view layout(const SchemeTraits& traits) {
  if (is_packed(traits)) return "pack-quantized";
  return traits.type == Type::kInt ? "int-quantized" : "float-quantized";
}

class CompressedTensors final : public Container {
 public:
  std::string_view name() const override { return "compressed-tensors"; }
  std::span<const std::string_view> suffixes() const override { return kSuffixes; }
  std::string refuses(const StoredMatrix&) const override { return ""; }
  std::string refuses_to_write(const StoredMatrix& matrix) const override {
    if (!matrix.traits.act_order) return "";
    return "compressed-tensors 0.19 and vLLM no longer read groups in act-order: --static-groups has groups that they "
           "do, --container gptq the order";
  }
  CanonicalWeight read(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool& pool) const override;
  std::vector<TensorInfo> tensors(const StoredMatrix& matrix) const override;
  void write(const CanonicalWeight& weight, const StoredMatrix& matrix, const EmitTensor& emit) const override;
  bool holds_kv_scales() const override { return true; }
  std::string config(const ModelSpec& model, const Format& format) const override;
};

std::vector<uint8_t> read_packed_codes(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool& pool) {
  const auto [out, in] = matrix.shape;
  const int64_t width = in;
  const int bits = matrix.traits.bits, per_word = 32 / bits;
  const TensorView& words =
      stored_tensor(checkpoint, matrix, ".weight_packed", DType::kI32, {out, words_for(in, bits)});
  std::vector<uint8_t> codes(out * in);
  unpack_words(words, bits, pool, [&](int64_t row, int64_t c, int i, uint8_t code) {
    if (const int64_t k = c * per_word + i; k < width) codes[row * width + k] = code;
  });
  const TensorView& shape = checkpoint.at(matrix.module + ".weight_shape");
  const std::vector<int64_t> wanted = {out, in}, got = read_integers(shape);
  if (got != wanted)
    throw Error(Errc::kBadFile, "{}: tensor '{}': wanted {} x {}, got {}", shape.file->path().string(), shape.name, out,
                in, fmt::join(got, " x "));
  return codes;
}

std::vector<uint8_t> read_plain_codes(const Checkpoint& checkpoint, const StoredMatrix& matrix) {
  const bool is_int = matrix.traits.type == Type::kInt;
  const TensorView& codes = stored_tensor(checkpoint, matrix, ".weight", is_int ? DType::kI8 : DType::kF8E4M3,
                                          {matrix.shape.out, matrix.shape.in});
  if (!is_int) return read_e4m3(codes);
  std::vector<uint8_t> result(codes.bytes.size());
  for (size_t i = 0; i < result.size(); ++i) result[i] = static_cast<uint8_t>(codes.bytes[i]) ^ kSignBit;
  return result;
}

std::vector<uint8_t> read_zeros(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool& pool) {
  const auto [out, in] = matrix.shape;
  const int64_t n_groups = matrix.traits.n_groups(in), n_rows = out;
  const int bits = matrix.traits.bits, per_word = 32 / bits;
  std::vector<uint8_t> zeros(out * n_groups);
  if (checkpoint.at(matrix.module + ".weight_zero_point").dtype == DType::kI8) {
    const TensorView& plain = stored_tensor(checkpoint, matrix, ".weight_zero_point", DType::kI8, {out, n_groups});
    for (size_t i = 0; i < zeros.size(); ++i) {
      const int zero = static_cast<int8_t>(plain.bytes[i]) + matrix.traits.middle();
      if (zero < 0 || zero >= 2 * matrix.traits.middle())
        throw Error(Errc::kBadFile, "{}: tensor '{}': wanted zero points in [{}, {}], got {}",
                    plain.file->path().string(), plain.name, -matrix.traits.middle(), matrix.traits.middle() - 1,
                    zero - matrix.traits.middle());
      zeros[i] = static_cast<uint8_t>(zero);
    }
    return zeros;
  }
  const TensorView& words =
      stored_tensor(checkpoint, matrix, ".weight_zero_point", DType::kI32, {words_for(out, bits), n_groups});
  unpack_words(words, bits, pool, [&](int64_t r, int64_t g, int i, uint8_t zero) {
    if (const int64_t row = r * per_word + i; row < n_rows) zeros[row * n_groups + g] = zero;
  });
  return zeros;
}

CanonicalWeight CompressedTensors::read(const Checkpoint& checkpoint, const StoredMatrix& matrix,
                                        ThreadPool& pool) const {
  const SchemeTraits& traits = matrix.traits;
  CanonicalWeight weight;
  weight.shape = matrix.shape;
  const bool packed =
      traits.type == Type::kInt && (traits.bits < 8 || checkpoint.has(matrix.module + ".weight_packed"));
  weight.codes = packed ? read_packed_codes(checkpoint, matrix, pool) : read_plain_codes(checkpoint, matrix);
  read_weight_scales(checkpoint, matrix, ".weight_scale", weight);
  if (traits.zero_points)
    weight.zeros = read_zeros(checkpoint, matrix, pool);
  else  // early versions wrote them for symmetric weights, too
    check_all_zero(checkpoint, matrix.module + ".weight_zero_point");
  if (traits.act_order || checkpoint.has(matrix.module + ".weight_g_idx"))
    weight.group_of_input = read_order(checkpoint, matrix, ".weight_g_idx");
  if (traits.inputs == Inputs::kStatic) {
    weight.input_scale = read_scale(checkpoint, matrix.module + ".input_scale");
    check_all_zero(checkpoint, matrix.module + ".input_zero_point");
  } else if (checkpoint.has(matrix.module + ".input_scale")) {
    const TensorView& scale = checkpoint.at(matrix.module + ".input_scale");
    throw Error(Errc::kBadFile, "{}: tensor '{}': wanted none, as the config has {}, got one",
                scale.file->path().string(), scale.name, traits.text());
  }
  return weight;
}

std::vector<TensorInfo> CompressedTensors::tensors(const StoredMatrix& matrix) const {
  const auto [out, in] = matrix.shape;
  const SchemeTraits& traits = matrix.traits;
  const std::string& m = matrix.module;
  std::vector<TensorInfo> infos;
  if (is_packed(traits)) {
    infos.push_back({m + ".weight_packed", DType::kI32, {out, words_for(in, traits.bits)}});
    infos.push_back({m + ".weight_shape", DType::kI64, {2}});
  } else {
    infos.push_back({m + ".weight", traits.type == Type::kInt ? DType::kI8 : DType::kF8E4M3, {out, in}});
  }
  infos.push_back({m + ".weight_scale", stored_scale_dtype(matrix), scales_shape(matrix)});
  if (traits.zero_points)
    infos.push_back({m + ".weight_zero_point", DType::kI32, {words_for(out, traits.bits), traits.n_groups(in)}});
  if (traits.inputs == Inputs::kStatic) infos.push_back({m + ".input_scale", DType::kF32, {1}});
  return infos;
}

std::vector<std::byte> plain_bytes(const CanonicalWeight& weight, const SchemeTraits& traits) {
  std::vector<std::byte> bytes;
  const uint8_t flip = traits.type == Type::kInt ? kSignBit : 0;
  for (const uint8_t code : weight.codes) bytes.push_back(static_cast<std::byte>(code ^ flip));
  return bytes;
}

void CompressedTensors::write(const CanonicalWeight& weight, const StoredMatrix& matrix, const EmitTensor& emit) const {
  const auto [out, in] = matrix.shape;
  const SchemeTraits& traits = matrix.traits;
  const int64_t per_word = 32 / traits.bits, n_groups = traits.n_groups(in), width = in, n_rows = out;
  const std::vector<TensorInfo> infos = tensors(matrix);
  auto info = infos.begin();
  if (is_packed(traits)) {
    emit(*info++, bytes_of(pack_words(out, words_for(in, traits.bits), traits.bits, [&](int64_t row, int64_t c, int i) {
      const int64_t k = c * per_word + i;
      return k < width ? weight.codes[row * width + k] : 0;
    })));
    emit(*info++, bytes_of(std::vector<int64_t>{out, in}));
  } else {
    emit(*info++, plain_bytes(weight, traits));
  }
  const DType scale_dtype = info->dtype;
  emit(*info++, encoded(weight.scales, scale_dtype));
  if (traits.zero_points)
    emit(*info++,
         bytes_of(pack_words(words_for(out, traits.bits), n_groups, traits.bits, [&](int64_t r, int64_t g, int i) {
           const int64_t row = r * per_word + i;
           return row < n_rows ? weight.zeros[row * n_groups + g] : 0;
         })));
  if (traits.inputs == Inputs::kStatic) emit(*info++, encoded({weight.input_scale}, DType::kF32));
}

ordered_json weight_arguments(const SchemeTraits& traits) {
  static constexpr std::string_view kStrategies[] = {"tensor", "channel", "group", "block"};
  ordered_json json = {{"num_bits", traits.bits},
                       {"type", traits.type == Type::kInt ? "int" : "float"},
                       {"symmetric", !traits.zero_points},
                       {"strategy", kStrategies[static_cast<int>(traits.scales)]},
                       {"dynamic", false}};
  if (traits.scales == Scales::kGroup) json["group_size"] = traits.group_size;
  if (traits.scales == Scales::kBlock) json["block_structure"] = {kScaleBlock, kScaleBlock};
  return json;
}

ordered_json input_arguments(const SchemeTraits& traits) {
  if (traits.inputs == Inputs::k16Bit) return nullptr;
  const bool dynamic = traits.inputs == Inputs::kPerToken;
  ordered_json json = {{"num_bits", traits.bits},
                       {"type", traits.type == Type::kInt ? "int" : "float"},
                       {"symmetric", true},
                       {"strategy", !dynamic                          ? "tensor"
                                    : traits.scales == Scales::kBlock ? "group"
                                                                      : "token"},
                       {"dynamic", dynamic}};
  if (dynamic && traits.scales == Scales::kBlock) json["group_size"] = kScaleBlock;
  return json;
}

ordered_json kv_cache_arguments(const Format& format) {
  if (format.kv_dtype != DType::kF8E4M3) return nullptr;
  return {{"num_bits", 8}, {"type", "float"}, {"symmetric", true}, {"strategy", "tensor"}, {"dynamic", false}};
}

std::string layout(const std::vector<QuantizedModules>& groups) {
  if (groups.empty()) return "dense";
  return groups.size() == 1 ? std::string(layout(groups[0].traits)) : "mixed-precision";
}

std::string CompressedTensors::config(const ModelSpec& model, const Format& format) const {
  const std::vector<QuantizedModules> groups = quantized_modules(model, format);
  ordered_json json = {{"quant_method", "compressed-tensors"},          {"format", layout(groups)},
                       {"quantization_status", "compressed"},           {"global_compression_ratio", nullptr},
                       {"kv_cache_scheme", kv_cache_arguments(format)}, {"config_groups", ordered_json::object()}};
  for (size_t i = 0; i < groups.size(); ++i)
    json["config_groups"][fmt::format("group_{}", i)] = {
        {"targets", i == 0 ? std::vector<std::string>{"Linear"} : groups[i].modules},
        {"weights", weight_arguments(groups[i].traits)},
        {"input_activations", input_arguments(groups[i].traits)},
        {"output_activations", nullptr},
        {"format", layout(groups[i].traits)}};
  std::vector<std::string> ignored = dense_modules(model, format);
  if (traits_of(linear_scheme(model, format, model.lm_head())) == nullptr) ignored.push_back("lm_head");
  json["ignore"] = ignored;
  return json.dump();
}

}  // namespace

const Container& compressed_tensors_container() {
  static const CompressedTensors container;
  return container;
}

}  // namespace trimeter
