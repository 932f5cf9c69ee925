#include "schemes/ggml/ggml_scheme.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "base/error.h"
#include "schemes/dense.h"
#include "schemes/ggml/codec.h"
#include "schemes/ggml/kernels.h"
#include "schemes/ggml/panel.h"
#include "schemes/tiled_scheme.h"

namespace trimeter {
namespace {

constexpr float kF16Max = 65504.0f;

// How one row of a block goes into a panel's and comes back.
struct PanelCodec {
  int64_t input_sums;
  bool (*pack)(const uint8_t* block, int64_t row, uint8_t* panel_block);  // false: not finite
  void (*unpack)(const uint8_t* panel_block, int64_t row, float* values);
};

template <class B>
constexpr PanelCodec kPanelCodec = {.input_sums = ggml::PanelBlock<B>::kInputSums,
                                    .pack =
                                        [](const uint8_t* block, int64_t row, uint8_t* panel_block) {
                                          typename B::Decoded decoded;
                                          ggml::decode(B{}, block, decoded);
                                          if (!std::isfinite(decoded.d) || !std::isfinite(decoded.m)) return false;
                                          ggml::put_row<B>(decoded, static_cast<int>(row), panel_block);
                                          return true;
                                        },
                                    .unpack =
                                        [](const uint8_t* panel_block, int64_t row, float* values) {
                                          typename B::Decoded decoded;
                                          ggml::get_row<B>(panel_block, static_cast<int>(row), decoded);
                                          ggml::dequantize<B>(decoded, values);
                                        }};

class GgmlScheme final : public TiledScheme {
 public:
  GgmlScheme(std::string_view name, std::string_view title, GgmlType type, const PanelCodec& codec,
             std::span<const SchemeKernels* const> kernels)
      : TiledScheme({.name = name,
                     .title = title,
                     .bits_per_weight = 8.0 * static_cast<double>(trimeter::info(type).block_bytes) /
                                        static_cast<double>(trimeter::info(type).block_elements),
                     .group_size = trimeter::info(type).block_elements,
                     .activation = DType::kI8,
                     .requested = "int8",
                     .activation_group = trimeter::info(type).block_elements},
                    {.step = trimeter::info(type).block_elements,
                     .sums_per_group = codec.input_sums,
                     .input_scales = InputScales::kPerTokenAndGroup},
                    kernels),
        type_(type),
        codec_(codec) {}

  GgmlType type() const { return type_; }

  std::string refuses(MatShape shape) const override {
    if (shape.in > 0 && shape.in % info_.group_size != 0)
      return fmt::format("in = {} is not a multiple of the block of {}", shape.in, info_.group_size);
    return TiledScheme::refuses(shape);
  }

  CanonicalWeight quantize_rtn(std::span<const DenseRows> parts, MatShape shape, ThreadPool& pool) const override {
    check_shape(shape);
    check_parts(parts, shape);
    CanonicalWeight weight;
    weight.shape = shape;
    const int64_t stride = row_bytes(type_, shape.in);
    weight.codes.resize(static_cast<size_t>(shape.out * stride));
    pool.run_shares(shape.out, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> values(static_cast<size_t>(shape.in));
      for (int64_t row = begin; row < end; ++row) {
        read_finite_row(parts, shape, row, values.data());
        for (int64_t k = 0; k < shape.in; ++k)
          if (std::fabs(values[k]) > kF16Max)
            throw Error(Errc::kBadFile, "{}: weight [{}, {}]: wanted at most {} in size, as scales are fp16, got {}",
                        info_.name, row, k, kF16Max, values[k]);
        quantize_ggml(type_, values.data(), shape.in, &weight.codes[row * stride]);
      }
    });
    return weight;
  }

  std::vector<float> dequantize(const CanonicalWeight& weight) const override {
    check_blocks(weight);
    std::vector<float> values(static_cast<size_t>(weight.shape.out * weight.shape.in));
    dequantize_ggml(type_, weight.codes.data(), weight.shape.out * weight.shape.in, values.data());
    return values;
  }

  // Throws Error(kBadFile) for blocks that decode to an infinity or NaN: those whose d or m is one.
  PackedWeight pack(const CanonicalWeight& weight, ThreadPool& pool) const override {
    const MatShape shape = weight.shape;
    check_blocks(weight);
    PackedWeight packed = take_packed(shape);
    const int64_t n_blocks = n_groups(shape.in), block_bytes = trimeter::info(type_).block_bytes;
    std::atomic<int64_t> bad_row = -1;
    pool.run([&](int thread) {
      const auto [begin, end] = pool.share(shape.out, thread, kPanelRows);
      for (int64_t panel = begin; panel < end; panel += kPanelRows)
        for (int64_t b = 0; b < n_blocks; ++b)
          for (int64_t row = panel; row < std::min(end, panel + kPanelRows); ++row)
            if (!codec_.pack(&weight.codes[(row * n_blocks + b) * block_bytes], row - panel,
                             packed.values.as<uint8_t>() + place(shape, panel, b)))
              bad_row = row;
    });
    if (bad_row >= 0)
      throw Error(Errc::kBadFile, "{}: weight row {}: wanted finite values, got an infinity or NaN", info_.name,
                  bad_row.load());
    return packed;
  }

  void unpack_row(const PackedWeight& weight, int64_t row, float* values) const override {
    const int64_t panel = row / kPanelRows * kPanelRows;
    for (int64_t b = 0; b < n_groups(weight.shape.in); ++b)
      codec_.unpack(weight.values.as<uint8_t>() + place(weight.shape, panel, b), row - panel,
                    values + b * info_.group_size);
  }

 private:
  // Of a panel's block.
  int64_t place(MatShape shape, int64_t panel, int64_t block) const {
    return values_offset(shape, panel) + block * kPanelRows * trimeter::info(type_).block_bytes;
  }
  void check_blocks(const CanonicalWeight& weight) const {
    check_shape(weight.shape);
    TM_CHECK(static_cast<int64_t>(weight.codes.size()) == weight.shape.out * row_bytes(type_, weight.shape.in),
             "{}: {} bytes for {} x {}", info_.name, weight.codes.size(), weight.shape.out, weight.shape.in);
  }

  const GgmlType type_;
  const PanelCodec& codec_;
};

std::string title_of(GgmlType type) {
  const GgmlTypeInfo& block = info(type);
  return fmt::format("ggml {} blocks of {}, int8 activations per {}", block.name, block.block_elements,
                     block.block_elements);
}

}  // namespace

#define TM_GGML_SCHEME(name, type, block)                                                                        \
  const Scheme& name##_scheme() {                                                                                \
    static const std::string title = title_of(GgmlType::type);                                                   \
    static const GgmlScheme scheme(#name, title, GgmlType::type, kPanelCodec<ggml::block>, name##_kernel_table); \
    return scheme;                                                                                               \
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
#define TM_GGML_CASE(name, type_name, block) \
  case GgmlType::type_name:                  \
    return &name##_scheme();
      TM_GGML_SCHEMES(TM_GGML_CASE)
#undef TM_GGML_CASE
  }
  return nullptr;
}

}  // namespace trimeter
