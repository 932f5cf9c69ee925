// AutoAWQ's "gemm" layout (casper-hansen/AutoAWQ, awq/modules/linear/gemm.py and awq/utils/packing_utils.py), out = N,
// in = K, group g:
//   qweight  I32 [K, N/8]    8 columns a word: bits 4i .. 4i+3 hold column 8c + kOrder[i]
//   qzeros   I32 [K/g, N/8]  likewise
//   scales   F16 [K/g, N]    F32 is rounded (packing.h)
//   w[n, k] = (q - z) * s
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>

#include "containers/config_parsers.h"
#include "containers/containers.h"
#include "containers/module_lists.h"
#include "containers/packing.h"

namespace trimeter {
namespace {

constexpr int kBits = 4, kPerWord = 8;
constexpr int kOrder[kPerWord] = {0, 2, 4, 6, 1, 3, 5, 7};
constexpr std::string_view kSuffixes[] = {".qweight", ".qzeros", ".scales"};

class AutoAwq final : public Container {
 public:
  std::string_view name() const override { return "autoawq"; }
  std::span<const std::string_view> suffixes() const override { return kSuffixes; }

  std::string refuses(const StoredMatrix& matrix) const override {
    const SchemeTraits& t = matrix.traits;
    const bool groups = t.scales == SchemeTraits::Scales::kGroup || t.scales == SchemeTraits::Scales::kChannel;
    if (t.type != SchemeTraits::Type::kInt || t.bits != kBits || !groups || !t.zero_points || t.act_order ||
        t.inputs != SchemeTraits::Inputs::k16Bit)
      return fmt::format("it holds int4 weights in groups with zero points, not {}", t.text());
    if (matrix.shape.out % kPerWord != 0) return fmt::format("out = {} is not a multiple of 8", matrix.shape.out);
    return "";
  }

  CanonicalWeight read(const Checkpoint& checkpoint, const StoredMatrix& matrix, ThreadPool& pool) const override {
    const int64_t out = matrix.shape.out, in = matrix.shape.in;
    const int64_t n_groups = matrix.traits.n_groups(in);
    CanonicalWeight weight;
    weight.shape = matrix.shape;
    weight.codes.resize(out * in);
    weight.zeros.resize(out * n_groups);
    const TensorView& codes = stored_tensor(checkpoint, matrix, kSuffixes[0], DType::kI32, {in, out / kPerWord});
    unpack_words(codes, kBits, pool, [&](int64_t k, int64_t c, int i, uint8_t code) {
      weight.codes[(c * kPerWord + kOrder[i]) * in + k] = code;
    });
    const TensorView& zeros = stored_tensor(checkpoint, matrix, kSuffixes[1], DType::kI32, {n_groups, out / kPerWord});
    unpack_words(zeros, kBits, pool, [&](int64_t g, int64_t c, int i, uint8_t zero) {
      weight.zeros[(c * kPerWord + kOrder[i]) * n_groups + g] = zero;
    });
    weight.scales = read_scales(checkpoint, matrix, kSuffixes[2], {n_groups, out}, true);
    weight.scale_dtype = to_16_bits(checkpoint, matrix, kSuffixes[2], weight.scales);
    return weight;
  }

  std::vector<TensorInfo> tensors(const StoredMatrix& matrix) const override {
    const int64_t out = matrix.shape.out, in = matrix.shape.in;
    const int64_t n_groups = matrix.traits.n_groups(in);
    return {{matrix.module + ".qweight", DType::kI32, {in, out / kPerWord}},
            {matrix.module + ".qzeros", DType::kI32, {n_groups, out / kPerWord}},
            {matrix.module + ".scales", DType::kF16, {n_groups, out}}};
  }

  void write(const CanonicalWeight& weight, const StoredMatrix& matrix, const EmitTensor& emit) const override {
    const int64_t out = matrix.shape.out, in = matrix.shape.in;
    const int64_t n_groups = matrix.traits.n_groups(in), n_words = out / kPerWord;
    const std::vector<TensorInfo> infos = tensors(matrix);
    const auto code = [&](int64_t k, int64_t c, int i) { return weight.codes[(c * kPerWord + kOrder[i]) * in + k]; };
    emit(infos[0], bytes_of(pack_words(in, n_words, kBits, code)));
    const auto zero = [&](int64_t g, int64_t c, int i) {
      return weight.zeros[(c * kPerWord + kOrder[i]) * n_groups + g];
    };
    emit(infos[1], bytes_of(pack_words(n_groups, n_words, kBits, zero)));
    emit(infos[2], encoded(transposed(weight.scales, out, n_groups), DType::kF16));
  }

  std::string config(const ModelSpec& model, const Format& format) const override {
    const SchemeTraits traits = only_traits(model, format);
    nlohmann::ordered_json json = {
        {"quant_method", "awq"}, {"bits", kBits},     {"group_size", written_group_size(traits)},
        {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", nullptr}};
    if (const std::vector<std::string> dense = dense_modules(model, format); !dense.empty())
      json["modules_to_not_convert"] = dense;
    return json.dump();
  }
};

}  // namespace

// AutoAWQ's names, or those of its model code's native save (q_group_size, w_bit).
StoredQuantization parse_awq(const Fields& config) {
  const auto number = [&](const char* key, const char* native, int64_t low, int64_t high) {
    const std::optional<int64_t> value = config.integer(key, low, high), other = config.integer(native, low, high);
    if (value && other && *value != *other) config.fail(native, fmt::format("{}, as '{}' has it", *value, key), *other);
    if (!value && !other) config.missing(key, "a number");
    return value ? *value : *other;
  };
  if (const int64_t bits = number("bits", "w_bit", 1, 64); bits != kBits)
    config.unsupported(config.find("bits") != nullptr ? "bits" : "w_bit", "4", bits);
  const int64_t group_size = number("group_size", "q_group_size", -1, int64_t{1} << 20);
  if (group_size == 0) config.fail("group_size", "-1 or a positive number", 0);
  if (!config.boolean("zero_point").value_or(true)) config.unsupported("zero_point", "true", false);
  std::string version = config.string("version").value_or("gemm");
  std::ranges::transform(version, version.begin(), [](unsigned char c) { return std::tolower(c); });
  if (version != "gemm") config.unsupported("version", "gemm", version);

  SchemeTraits traits{.bits = kBits, .zero_points = true};
  if (group_size < 0)
    traits.scales = SchemeTraits::Scales::kChannel;
  else
    traits.group_size = group_size;
  const auto is_kept = [kept = config.strings("modules_to_not_convert")](const std::string& module) {
    return std::ranges::any_of(kept, [&](const std::string& part) { return module.find(part) != std::string::npos; });
  };
  return {.container = "autoawq", .traits_of = [=](const std::string& module) -> std::optional<SchemeTraits> {
            if (module == "lm_head" || is_kept(module)) return std::nullopt;
            return traits;
          }};
}

const Container& autoawq_container() {
  static const AutoAwq container;
  return container;
}

}  // namespace trimeter
