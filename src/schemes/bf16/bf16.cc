#include "schemes/bf16/bf16.h"

#include "schemes/float_scheme.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

struct Bf16Codec {
  using Element = uint16_t;
  static constexpr int64_t kStep = 2;
  static Element encode(float x) { return bf16_from_float(x); }
  static float decode(Element code) { return bf16_to_float(code); }
};

}  // namespace

const Scheme& bf16_scheme() {
  static const FloatScheme<Bf16Codec> scheme({.name = "bf16",
                                              .title = "16-bit brain float",
                                              .bits_per_weight = 16,
                                              .group_size = 0,
                                              .activation = DType::kBF16,
                                              .requested = "bf16"},
                                             bf16_kernel_table);
  return scheme;
}

}  // namespace trimeter
