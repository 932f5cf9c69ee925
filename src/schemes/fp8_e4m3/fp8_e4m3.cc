#include "schemes/fp8_e4m3/fp8_e4m3.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "schemes/dense.h"
#include "schemes/tiled_scheme.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr SchemeInfo kInfo{.name = "fp8_e4m3",
                           .title = "e4m3 W8A8, per-tensor weights, per-token dynamic activations",
                           .bits_per_weight = 8,
                           .group_size = 0,
                           .activation = DType::kF8E4M3,
                           .requested = "fp8"};
constexpr int64_t kStep = 4;

int64_t index(MatShape shape, int64_t row, int64_t k) {
  const int64_t tile = row / kTileRows * kTileRows, r = row - tile;
  const int64_t line = k / kStep * tile_rows(shape.out, tile) + r / kRowVector * kRowVector;
  return tile * round_up(shape.in, kStep) + line * kStep + r % 16 / 4 * 16 + k % 4 / 2 * 8 + r % 4 * 2 + k % 2;
}

class Fp8E4M3 final : public TiledScheme {
 public:
  Fp8E4M3() : TiledScheme(kInfo, {.step = kStep, .input_scales = InputScales::kPerToken}, fp8_e4m3_kernel_table) {}

  CanonicalWeight quantize_rtn(std::span<const DenseRows> parts, MatShape shape) const override {
    check_shape(shape);
    check_parts(parts, shape);
    std::vector<float> values(shape.in);
    float amax = 0;
    for (int64_t row = 0; row < shape.out; ++row) {
      read_finite_row(parts, shape, row, values.data());
      for (const float value : values) amax = std::max(amax, std::fabs(value));
    }
    CanonicalWeight weight;
    weight.shape = shape;
    const float scale = amax / kE4M3Max;
    weight.scales = {scale >= std::numeric_limits<float>::min() ? scale : 1.0f};  // with less there is no reciprocal
    const float reciprocal = 1 / weight.scales[0];
    weight.codes.resize(shape.out * shape.in);
    for (int64_t row = 0; row < shape.out; ++row) {
      read_row(parts, shape, row, values.data());
      for (int64_t k = 0; k < shape.in; ++k) weight.codes[row * shape.in + k] = e4m3_from_float(values[k] * reciprocal);
    }
    return weight;
  }

  std::vector<float> dequantize(const CanonicalWeight& weight) const override {
    std::vector<float> values(weight.codes.size());
    for (size_t i = 0; i < values.size(); ++i) values[i] = e4m3_to_float(weight.codes[i]) * weight.scales[0];
    return values;
  }

  PackedWeight pack(const CanonicalWeight& weight, ThreadPool& pool) const override {
    const MatShape shape = weight.shape;
    check_codes(weight);
    PackedWeight packed = take_packed(shape);
    packed.tensor_scale = weight.scales[0];
    uint8_t* out = packed.values.as<uint8_t>();
    pool.run([&](int thread) {
      const auto [begin, end] = pool.share(shape.out, thread, kTileRows);
      for (int64_t row = begin; row < end; ++row)
        for (int64_t k = 0; k < shape.in; ++k) out[index(shape, row, k)] = weight.codes[row * shape.in + k];
    });
    return packed;
  }

  void unpack_row(const PackedWeight& weight, int64_t row, float* values) const override {
    const uint8_t* codes = weight.values.as<uint8_t>();
    for (int64_t k = 0; k < weight.shape.in; ++k)
      values[k] = e4m3_to_float(codes[index(weight.shape, row, k)]) * weight.tensor_scale;
  }

 private:
  // The kernels' decoders have no NaN, so none may come in.
  void check_codes(const CanonicalWeight& weight) const {
    const MatShape shape = weight.shape;
    TM_CHECK(static_cast<int64_t>(weight.codes.size()) == shape.out * shape.in && weight.scales.size() == 1,
             "{}: {} codes and {} scales for {} x {}", kInfo.name, weight.codes.size(), weight.scales.size(), shape.out,
             shape.in);
    for (size_t i = 0; i < weight.codes.size(); ++i)
      if ((weight.codes[i] & 0x7f) == 0x7f)
        throw Error(Errc::kBadFile, "{}: weight [{}, {}] is NaN, wanted a finite value", kInfo.name, i / shape.in,
                    i % shape.in);
  }
};

}  // namespace

const Scheme& fp8_e4m3_scheme() {
  static const Fp8E4M3 scheme;
  return scheme;
}

}  // namespace trimeter
