#include <fmt/format.h>
#include <gtest/gtest.h>

#include "schemes/kernel_test.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

// Every code at every k; scales use all of their dtype's mantissa. A code less 128 times such a scale is a float, so
// every product is exact.
TEST(Int8W, EveryCodeDecodesExactlyOnEveryIsa) {
  const MatShape shape{256, 256};
  ThreadPool pool(2);
  for (const char* scheme_name : {"int8w", "int8w_g32", "int8w_g64", "int8w_g128"})
    for (const DType scale_dtype : {DType::kF16, DType::kBF16}) {
      const Scheme& scheme = trimeter::scheme(scheme_name);
      const int64_t group_size = scheme.info().group_size;
      const int64_t n_groups = group_size > 0 ? shape.in / group_size : 1;
      CanonicalWeight weight;
      weight.shape = shape;
      weight.scale_dtype = scale_dtype;
      for (int64_t i = 0; i < shape.out; ++i) {
        for (int64_t k = 0; k < shape.in; ++k) weight.codes.push_back(static_cast<uint8_t>(i + k));
        for (int64_t g = 0; g < n_groups; ++g) {
          const auto mantissa = static_cast<uint16_t>(i * 41 + g * 7);
          weight.scales.push_back(scale_dtype == DType::kBF16
                                      ? bf16_to_float(static_cast<uint16_t>((100 + i % 40) << 7 | mantissa % 128))
                                      : f16_to_float(static_cast<uint16_t>((i % 25 + 1) << 10 | mantissa % 1024)));
        }
      }
      const PackedWeight packed = scheme.pack(weight, pool);
      for (const Isa isa : runnable_isas()) {
        const std::vector<float> y = multiply_all(scheme, packed, diagonal(shape.in, 1), shape.in, isa);
        for (int64_t k = 0; k < shape.in; ++k)
          for (int64_t i = 0; i < shape.out; ++i) {
            const float scale = weight.scales[i * n_groups + k * n_groups / shape.in];
            ASSERT_EQ(y[k * shape.out + i], static_cast<float>(weight.codes[i * shape.in + k] - 128) * scale)
                << scheme_name << " " << name(isa) << " row " << i << " k " << k;
          }
      }
    }
}

TEST(Int8W, BytesAreAByteAWeightAndTwoPerGroup) {
  EXPECT_EQ(scheme("int8w").bytes({64, 256}).values, 64 * 256);
  EXPECT_EQ(scheme("int8w").bytes({64, 256}).scales, 64 * 2);
  for (const int group_size : {32, 64, 128})
    EXPECT_EQ(scheme(fmt::format("int8w_g{}", group_size)).bytes({64, 256}).scales, 64 * 256 / group_size * 2);
}

}  // namespace
}  // namespace trimeter
