// Every code of the 16-bit schemes through every kernel. A scheme of 16-bit floats is one whose weights and inputs have
// the same 16-bit dtype.
#include <gtest/gtest.h>

#include <cmath>

#include "schemes/kernel_test.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

class FloatSchemes : public testing::TestWithParam<const char*> {};

TEST_P(FloatSchemes, EveryFiniteCodeDecodesExactlyOnEveryIsa) {
  const Scheme& tested = scheme(GetParam());
  const DType dtype = tested.info().activation;
  const auto decode = [&](int code) {
    return dtype == DType::kBF16 ? bf16_to_float(static_cast<uint16_t>(code))
                                 : f16_to_float(static_cast<uint16_t>(code));
  };
  const MatShape shape{1024, 64};
  std::vector<uint16_t> codes(65536);
  for (int code = 0; code < 65536; ++code) codes[code] = static_cast<uint16_t>(std::isfinite(decode(code)) ? code : 0);
  const DenseRows part{reinterpret_cast<const std::byte*>(codes.data()), dtype, shape.out};
  ThreadPool pool(2);
  const PackedWeight packed = tested.pack(tested.quantize_rtn({&part, 1}, shape), pool);
  std::vector<float> row(shape.in);
  for (int64_t i = 0; i < shape.out; ++i) {
    tested.unpack_row(packed, i, row.data());
    for (int64_t k = 0; k < shape.in; ++k) ASSERT_EQ(row[k], decode(codes[i * shape.in + k]));
  }
  for (const Isa isa : runnable_isas()) {
    const bool flushes = tested.plan(isa).executed == "bf16";  // vdpbf16ps takes subnormals for zero
    const std::vector<float> y = multiply_all(tested, packed, diagonal(shape.in, 1), shape.in, isa);
    for (int64_t k = 0; k < shape.in; ++k)
      for (int64_t i = 0; i < shape.out; ++i) {
        const float w = decode(codes[i * shape.in + k]);
        ASSERT_EQ(y[k * shape.out + i], flushes && std::fabs(w) < 0x1p-126f ? 0.0f : w) << name(isa);
      }
  }
}

INSTANTIATE_TEST_SUITE_P(All, FloatSchemes, testing::Values("bf16", "fp16"),
                         [](const auto& test) { return std::string(test.param); });

}  // namespace
}  // namespace trimeter
