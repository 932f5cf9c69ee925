#include "schemes/fp32/fp32.h"

#include "schemes/float_scheme.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

struct F32Codec {
  using Element = uint32_t;
  static constexpr int64_t kStep = 1;
  static Element encode(float x) { return bits_from_float(x); }
  static float decode(Element code) { return float_from_bits(code); }
};

}  // namespace

const Scheme& fp32_scheme() {
  static const FloatScheme<F32Codec> scheme({.name = "fp32",
                                             .title = "32-bit float",
                                             .bits_per_weight = 32,
                                             .group_size = 0,
                                             .activation = DType::kF32,
                                             .requested = "fp32"},
                                            fp32_kernel_table);
  return scheme;
}

}  // namespace trimeter
