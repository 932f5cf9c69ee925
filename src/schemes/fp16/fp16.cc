#include "schemes/fp16/fp16.h"

#include "schemes/float_scheme.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

struct F16Codec {
  using Element = uint16_t;
  static constexpr int64_t kStep = 1;
  static Element encode(float x) { return f16_from_float(x); }
  static float decode(Element code) { return f16_to_float(code); }
};

}  // namespace

const Scheme& fp16_scheme() {
  static const FloatScheme<F16Codec> scheme({.name = "fp16",
                                             .title = "16-bit IEEE half",
                                             .bits_per_weight = 16,
                                             .group_size = 0,
                                             .activation = DType::kF16,
                                             .requested = "fp16"},
                                            fp16_kernel_table);
  return scheme;
}

}  // namespace trimeter
