#include "schemes/ggml/ggml_scheme.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "schemes/dense.h"
#include "schemes/ggml/codec.h"
#include "schemes/ggml/kernels.h"

namespace trimeter {
namespace {

constexpr float kF16Max = 65504.0f;

int64_t sub_block(GgmlType type) {
  switch (type) {
    case GgmlType::kQ2_K:
    case GgmlType::kQ3_K:
    case GgmlType::kQ6_K:
      return 16;
    default:
      return 32;
  }
}

class GgmlScheme final : public Scheme {
 public:
  GgmlScheme(std::string_view name, GgmlType type, std::span<const SchemeKernels* const> kernels)
      : type_(type),
        block_(trimeter::info(type)),
        title_(fmt::format("ggml {} blocks of {}, int8 activations per {}", block_.name, block_.block_elements,
                           block_.block_elements)),
        info_{.name = name,
              .title = title_,
              .bits_per_weight =
                  8.0 * static_cast<double>(block_.block_bytes) / static_cast<double>(block_.block_elements),
              .group_size = block_.block_elements,
              .activation = DType::kI8,
              .requested = "int8",
              .activation_group = block_.block_elements},
        kernels_(kernels) {}

  const SchemeInfo& info() const override { return info_; }
  GgmlType type() const { return type_; }

  WeightBytes bytes(MatShape shape) const override {
    return {.values = padded_rows(shape.out) * row_bytes(type_, shape.in), .scales = 0};
  }

  std::string refuses(MatShape shape) const override {
    if (shape.out <= 0 || shape.in <= 0) return fmt::format("the shape {} x {} is empty", shape.out, shape.in);
    if (shape.in % block_.block_elements != 0)
      return fmt::format("in = {} is not a multiple of the block of {}", shape.in, block_.block_elements);
    return "";
  }

  KernelPlan plan(Isa isa) const override {
    return {.kernel = fmt::format("{}.{}", info_.name, trimeter::name(isa)),
            .requested = std::string(info_.requested),
            .executed = kernels(isa).executed,
            .reason = {}};
  }

  CanonicalWeight quantize_rtn(std::span<const DenseRows> parts, MatShape shape) const override {
    check_shape(shape);
    check_parts(parts, shape);
    CanonicalWeight weight;
    weight.shape = shape;
    const int64_t stride = row_bytes(type_, shape.in);
    weight.codes.resize(static_cast<size_t>(shape.out * stride));
    std::vector<float> values(static_cast<size_t>(shape.in));
    for (int64_t row = 0; row < shape.out; ++row) {
      read_finite_row(parts, shape, row, values.data());
      for (int64_t k = 0; k < shape.in; ++k)
        if (std::fabs(values[k]) > kF16Max)
          throw Error(Errc::kBadFile, "{}: weight [{}, {}]: wanted at most {} in size, as scales are fp16, got {}",
                      info_.name, row, k, kF16Max, values[k]);
      quantize_ggml(type_, values.data(), shape.in, &weight.codes[row * stride]);
    }
    return weight;
  }

  std::vector<float> dequantize(const CanonicalWeight& weight) const override {
    check_blocks(weight);
    std::vector<float> values(static_cast<size_t>(weight.shape.out * weight.shape.in));
    dequantize_ggml(type_, weight.codes.data(), weight.shape.out * weight.shape.in, values.data());
    return values;
  }

  // Throws Error(kBadFile) for blocks that decode to an infinity or NaN.
  PackedWeight pack(const CanonicalWeight& weight, ThreadPool& pool) const override {
    const MatShape shape = weight.shape;
    check_blocks(weight);
    PackedWeight packed;
    packed.shape = shape;
    packed.values = Buffer(bytes(shape).values, "packed weight");
    const int64_t stride = row_bytes(type_, shape.in);
    std::atomic<int64_t> bad_row = -1;
    pool.run([&](int thread) {
      std::vector<float> values(static_cast<size_t>(shape.in));
      const auto [begin, end] = pool.share(shape.out, thread, kPanelRows);
      for (int64_t row = begin; row < end; ++row) {
        std::memcpy(packed.values.as<uint8_t>() + row * stride, &weight.codes[row * stride],
                    static_cast<size_t>(stride));
        dequantize_ggml(type_, &weight.codes[row * stride], shape.in, values.data());
        if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) bad_row = row;
      }
    });
    if (bad_row >= 0)
      throw Error(Errc::kBadFile, "{}: weight row {}: wanted finite values, got an infinity or NaN", info_.name,
                  bad_row.load());
    return packed;
  }

  void unpack_row(const PackedWeight& weight, int64_t row, float* values) const override {
    const int64_t in = weight.shape.in;
    dequantize_ggml(type_, weight.values.as<uint8_t>() + row * row_bytes(type_, in), in, values);
  }

  int64_t prepared_bytes(int64_t n_tokens, int64_t in, Isa) const override {
    return Arena::bytes_for(n_tokens * ggml_input_stride(in)) +
           Arena::bytes_for(n_tokens * (in / block_.block_elements) * kFloatBytes) +
           Arena::bytes_for(n_tokens * (in / sub_block(type_)) * kFloatBytes);
  }

  PreparedInput take_prepared(Arena& arena, int64_t n_tokens, int64_t in, Isa) const override {
    PreparedInput prepared{.n_tokens = n_tokens, .in = in};
    prepared.values = arena.take<char>(n_tokens * ggml_input_stride(in));
    prepared.row_scales = arena.take<float>(n_tokens * (in / block_.block_elements));
    prepared.group_sums = arena.take<float>(n_tokens * (in / sub_block(type_)));
    return prepared;
  }

  void prepare(const PackedWeight&, const float* x, int64_t token_begin, int64_t token_end,
               const PreparedInput& prepared, Isa isa) const override {
    kernels(isa).prepare({.x = x,
                          .in = prepared.in,
                          .n_tokens = prepared.n_tokens,
                          .token_begin = token_begin,
                          .token_end = token_end,
                          .values = prepared.values,
                          .row_scales = prepared.row_scales,
                          .group_sums = prepared.group_sums});
  }

  void multiply(const PackedWeight& weight, const PreparedInput& x, int64_t row_begin, int64_t row_end,
                const float* bias, bool accumulate, float* y, int64_t ldy, Isa isa) const override {
    TM_CHECK(x.in == weight.shape.in, "{}: x is {} wide, w is {} x {}", info_.name, x.in, weight.shape.out,
             weight.shape.in);
    TM_CHECK(row_begin % kPanelRows == 0 && row_begin <= row_end && row_end <= weight.shape.out,
             "{}: rows [{}, {}) of {}", info_.name, row_begin, row_end, weight.shape.out);
    kernels(isa).multiply({.values = weight.values.as<char>(),
                           .scales = nullptr,
                           .out = weight.shape.out,
                           .in = weight.shape.in,
                           .tensor_scale = 1,
                           .x = x.values,
                           .row_scales = x.row_scales,
                           .group_sums = x.group_sums,
                           .n_tokens = x.n_tokens,
                           .row_begin = row_begin,
                           .row_end = row_end,
                           .bias = bias,
                           .accumulate = accumulate,
                           .y = y,
                           .ldy = ldy});
  }

 private:
  static constexpr int64_t kFloatBytes = sizeof(float);
  const SchemeKernels& kernels(Isa isa) const { return *kernels_[static_cast<size_t>(isa)]; }
  void check_shape(MatShape shape) const {
    if (const std::string reason = refuses(shape); !reason.empty())
      throw Error(Errc::kUnsupported, "{}: {}", info_.name, reason);
  }
  void check_blocks(const CanonicalWeight& weight) const {
    check_shape(weight.shape);
    TM_CHECK(static_cast<int64_t>(weight.codes.size()) == weight.shape.out * row_bytes(type_, weight.shape.in),
             "{}: {} bytes for {} x {}", info_.name, weight.codes.size(), weight.shape.out, weight.shape.in);
  }

  const GgmlType type_;
  const GgmlTypeInfo& block_;
  const std::string title_;
  const SchemeInfo info_;
  const std::span<const SchemeKernels* const> kernels_;
};

}  // namespace

#define TM_GGML_SCHEME(name, type)                                              \
  const Scheme& name##_scheme() {                                               \
    static const GgmlScheme scheme(#name, GgmlType::type, name##_kernel_table); \
    return scheme;                                                              \
  }
TM_GGML_SCHEMES(TM_GGML_SCHEME)
#undef TM_GGML_SCHEME

std::optional<GgmlType> ggml_type_of(const Scheme& wanted) {
  if (const auto* blocks = dynamic_cast<const GgmlScheme*>(&wanted)) return blocks->type();
  for (const GgmlType type : {GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16})
    if (scheme_of(type) == &wanted) return type;
  return {};
}

const Scheme* scheme_of(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return &scheme("fp32");
    case GgmlType::kF16:
      return &scheme("fp16");
    case GgmlType::kBF16:
      return &scheme("bf16");
#define TM_GGML_CASE(name, type_name) \
  case GgmlType::type_name:           \
    return &name##_scheme();
      TM_GGML_SCHEMES(TM_GGML_CASE)
#undef TM_GGML_CASE
  }
  return nullptr;
}

}  // namespace trimeter
