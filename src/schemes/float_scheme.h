// Weights held as one float type, converted when they are packed. Codec: Element, kStep, encode(float),
// decode(Element).
#pragma once
#include <vector>

#include "base/error.h"
#include "schemes/dense.h"
#include "schemes/tiled_scheme.h"

namespace trimeter {

template <class Codec>
class FloatScheme final : public TiledScheme {
 public:
  using Element = typename Codec::Element;

  FloatScheme(const SchemeInfo& info, std::span<const SchemeKernels* const> kernels)
      : TiledScheme(info, {.step = Codec::kStep}, kernels) {}

  CanonicalWeight quantize_rtn(std::span<const DenseRows> parts, MatShape shape, ThreadPool&) const override {
    check_shape(shape);
    check_parts(parts, shape);
    CanonicalWeight weight;
    weight.shape = shape;
    weight.dense.assign(parts.begin(), parts.end());
    return weight;
  }

  std::vector<float> dequantize(const CanonicalWeight& weight) const override {
    const MatShape shape = weight.shape;
    std::vector<float> values(static_cast<size_t>(shape.out * shape.in));
    for (int64_t row = 0; row < shape.out; ++row) read_row(weight.dense, shape, row, &values[row * shape.in]);
    for (float& value : values) value = Codec::decode(Codec::encode(value));
    return values;
  }

  PackedWeight pack(const CanonicalWeight& weight, ThreadPool& pool) const override {
    const MatShape shape = weight.shape;
    check_parts(weight.dense, shape);
    PackedWeight packed = take_packed(shape);
    std::vector<std::vector<float>> rows(pool.size(), std::vector<float>(shape.in));
    pool.run([&](int thread) {
      float* values = rows[thread].data();
      const auto [begin, end] = pool.share(shape.out, thread, kPanelRows);
      for (int64_t row = begin; row < end; ++row) {
        read_row(weight.dense, shape, row, values);
        Element* out = packed.values.as<Element>();
        for (int64_t k = 0; k < shape.in; ++k) out[index(shape, row, k)] = Codec::encode(values[k]);
      }
    });
    return packed;
  }

  void unpack_row(const PackedWeight& weight, int64_t row, float* values) const override {
    const Element* packed = weight.values.as<Element>();
    for (int64_t k = 0; k < weight.shape.in; ++k) values[k] = Codec::decode(packed[index(weight.shape, row, k)]);
  }

 private:
  static int64_t index(MatShape shape, int64_t row, int64_t k) {
    const int64_t panel = row / kPanelRows * kPanelRows;
    return panel * round_up(shape.in, Codec::kStep) + (k / Codec::kStep * kPanelRows + row - panel) * Codec::kStep +
           k % Codec::kStep;
  }
};

}  // namespace trimeter
