#include "schemes/fp8_e4m3/fp8_e4m3.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "base/error.h"
#include "schemes/dense.h"
#include "schemes/tiled_scheme.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr int64_t kStep = 4, kBlock = 128;

enum class Scales { kPerTensor, kPerRow, kPerBlock };

int64_t index(MatShape shape, int64_t row, int64_t k) {
  const int64_t panel = row / kPanelRows * kPanelRows, r = row - panel;
  return panel * round_up(shape.in, kStep) + k / kStep * kPanelRows * kStep + r / 4 * 16 + k % 4 / 2 * 8 + r % 4 * 2 +
         k % 2;
}

class Fp8E4M3 final : public TiledScheme {
 public:
  Fp8E4M3(std::string_view name, std::string_view title, Scales scales, bool static_input = false)
      : TiledScheme({.name = name,
                     .title = title,
                     .bits_per_weight = 8,
                     .group_size = scales == Scales::kPerBlock ? kBlock : 0,
                     .activation = DType::kF8E4M3,
                     .requested = "fp8",
                     .activation_group = scales == Scales::kPerBlock ? kBlock : 0,
                     .static_input = static_input},
                    layout_of(scales),
                    scales == Scales::kPerBlock ? fp8_e4m3_block128_kernel_table : fp8_e4m3_kernel_table),
        scales_(scales) {}

  CanonicalWeight quantize_rtn(std::span<const DenseRows> parts, MatShape shape, ThreadPool& pool) const override {
    check_shape(shape);
    check_parts(parts, shape);
    CanonicalWeight weight;
    weight.shape = shape;
    weight.scales.resize(n_scales(shape));
    std::mutex merging;  // rows of several members may share a scale
    pool.run_shares(shape.out, kBlock, [&](int64_t begin, int64_t end) {
      std::vector<float> values(shape.in), amax(weight.scales.size());
      for (int64_t row = begin; row < end; ++row) {
        read_finite_row(parts, shape, row, values.data());
        for (int64_t k = 0; k < shape.in; ++k) {
          float& largest = amax[scale_index(shape, row, k)];
          largest = std::max(largest, std::fabs(values[k]));
        }
      }
      const std::lock_guard lock(merging);
      std::ranges::transform(amax, weight.scales, weight.scales.begin(),
                             [](float a, float b) { return std::max(a, b); });
    });
    std::vector<float> reciprocals;
    for (float& scale : weight.scales) {
      scale /= kE4M3Max;
      if (scale < std::numeric_limits<float>::min()) scale = 1;  // there is no reciprocal
      reciprocals.push_back(1 / scale);
    }
    weight.codes.resize(shape.out * shape.in);
    pool.run_shares(shape.out, 1, [&](int64_t begin, int64_t end) {
      std::vector<float> values(shape.in);
      for (int64_t row = begin; row < end; ++row) {
        read_row(parts, shape, row, values.data());
        for (int64_t k = 0; k < shape.in; ++k)
          weight.codes[row * shape.in + k] = e4m3_from_float(values[k] * reciprocals[scale_index(shape, row, k)]);
      }
    });
    if (info_.static_input) weight.input_scale = 1;
    return weight;
  }

  std::vector<float> dequantize(const CanonicalWeight& weight) const override {
    const MatShape shape = weight.shape;
    std::vector<float> values(weight.codes.size());
    for (int64_t row = 0; row < shape.out; ++row)
      for (int64_t k = 0; k < shape.in; ++k)
        values[row * shape.in + k] =
            e4m3_to_float(weight.codes[row * shape.in + k]) * weight.scales[scale_index(shape, row, k)];
    return values;
  }

  PackedWeight pack(const CanonicalWeight& weight, ThreadPool& pool) const override {
    const MatShape shape = weight.shape;
    check_codes(weight);
    PackedWeight packed = take_packed(shape);
    packed.input_scale = weight.input_scale;
    if (scales_ == Scales::kPerTensor)
      packed.tensor_scale = weight.scales[0];
    else
      std::ranges::copy(weight.scales, packed.scales.as<float>());
    uint8_t* out = packed.values.as<uint8_t>();
    pool.run([&](int thread) {
      const auto [begin, end] = pool.share(shape.out, thread, kPanelRows);
      for (int64_t row = begin; row < end; ++row)
        for (int64_t k = 0; k < shape.in; ++k) out[index(shape, row, k)] = weight.codes[row * shape.in + k];
    });
    return packed;
  }

  void unpack_row(const PackedWeight& weight, int64_t row, float* values) const override {
    const MatShape shape = weight.shape;
    const float* scales = scales_ == Scales::kPerTensor ? &weight.tensor_scale : weight.scales.as<float>();
    const uint8_t* codes = weight.values.as<uint8_t>();
    for (int64_t k = 0; k < shape.in; ++k)
      values[k] = e4m3_to_float(codes[index(shape, row, k)]) * scales[scale_index(shape, row, k)];
  }

 private:
  static Layout layout_of(Scales scales) {
    constexpr int64_t kFloatBytes = sizeof(float);
    switch (scales) {
      case Scales::kPerTensor:
        return {.step = kStep, .input_scales = InputScales::kPerToken};
      case Scales::kPerRow:
        return {.step = kStep, .group_bytes = kPanelRows * kFloatBytes, .input_scales = InputScales::kPerToken};
      case Scales::kPerBlock:
        return {.step = kStep,
                .group_bytes = kFloatBytes,
                .scale_rows = kBlock,
                .input_scales = InputScales::kPerTokenAndGroup};
    }
    TM_CHECK(false, "no such scales");
  }

  int64_t n_scales(MatShape shape) const { return scale_index(shape, shape.out - 1, shape.in - 1) + 1; }
  int64_t scale_index(MatShape shape, int64_t row, int64_t k) const {
    if (scales_ == Scales::kPerTensor) return 0;
    return scales_ == Scales::kPerRow ? row : row / kBlock * n_groups(shape.in) + k / kBlock;
  }

  // The kernels' decoders have no NaN, so none may come in.
  void check_codes(const CanonicalWeight& weight) const {
    const MatShape shape = weight.shape;
    check_shape(shape);
    TM_CHECK(std::ssize(weight.codes) == shape.out * shape.in && std::ssize(weight.scales) == n_scales(shape),
             "{}: {} codes and {} scales for {} x {}", info_.name, weight.codes.size(), weight.scales.size(), shape.out,
             shape.in);
    check_scales(weight);
    for (size_t i = 0; i < weight.codes.size(); ++i)
      if ((weight.codes[i] & 0x7f) == 0x7f)
        throw Error(Errc::kBadFile, "{}: weight [{}, {}] is NaN, wanted a finite value", info_.name, i / shape.in,
                    i % shape.in);
  }

  const Scales scales_;
};

}  // namespace

#define TM_FP8(name, title, ...)                                          \
  const Scheme& name##_scheme() {                                         \
    static const Fp8E4M3 scheme(#name, "e4m3 W8A8, " title, __VA_ARGS__); \
    return scheme;                                                        \
  }
TM_FP8(fp8_e4m3, "per-tensor weights, per-token dynamic activations", Scales::kPerTensor)
TM_FP8(fp8_e4m3_channel, "per-channel weights, per-token dynamic activations", Scales::kPerRow)
TM_FP8(fp8_e4m3_block128, "weights per 128 x 128, dynamic activations per token and 128", Scales::kPerBlock)
TM_FP8(fp8_e4m3_static, "per-tensor weights, static per-tensor activations", Scales::kPerTensor, true)
TM_FP8(fp8_e4m3_channel_static, "per-channel weights, static per-tensor activations", Scales::kPerRow, true)
#undef TM_FP8

}  // namespace trimeter
