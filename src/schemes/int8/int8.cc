#include "schemes/int8/int8.h"

#include "base/error.h"
#include "schemes/integer_scheme.h"

namespace trimeter {
namespace {

constexpr int64_t kMaxIn = (1 << 17) - 1;
constexpr IntegerGrid kGrid{.bits = 8, .zero_points = false, .group_size = 0, .f32_scales = true};

class Int8 final : public IntegerScheme {
 public:
  Int8(std::string_view name, std::string_view title, bool static_input)
      : IntegerScheme({.name = name,
                       .title = title,
                       .bits_per_weight = 8,
                       .group_size = 0,
                       .activation = DType::kI8,
                       .requested = "int8",
                       .grid = &kGrid,
                       .static_input = static_input},
                      {.group_sums = true, .input_scales = true}, int8_kernel_table) {}

  std::string refuses(MatShape shape) const override {
    if (shape.in > kMaxIn) return fmt::format("in = {} is more than {} products in 32 bits", shape.in, kMaxIn);
    return IntegerScheme::refuses(shape);
  }
};

}  // namespace

const Scheme& int8_scheme() {
  static const Int8 scheme("int8", "int8 W8A8, per-channel weights, per-token dynamic activations", false);
  return scheme;
}

const Scheme& int8_static_scheme() {
  static const Int8 scheme("int8_static", "int8 W8A8, per-channel weights, static per-tensor activations", true);
  return scheme;
}

}  // namespace trimeter
