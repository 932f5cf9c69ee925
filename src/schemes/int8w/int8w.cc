#include "schemes/int8w/int8w.h"

#include "schemes/integer_scheme.h"

namespace trimeter {
namespace {

template <int64_t kGroup>
const Scheme& int8w(std::string_view name, std::string_view title, std::span<const SchemeKernels* const> kernels) {
  static constexpr IntegerGrid kGrid{.bits = 8, .zero_points = false, .group_size = kGroup};
  static const IntegerScheme scheme({.name = name,
                                     .title = title,
                                     .bits_per_weight = 8,
                                     .group_size = kGroup,
                                     .activation = DType::kBF16,
                                     .requested = "bf16",
                                     .grid = &kGrid},
                                    {}, kernels);
  return scheme;
}

}  // namespace

const Scheme& int8w_scheme() { return int8w<0>("int8w", "W8A16 per-channel", int8w_kernel_table); }
const Scheme& int8w_g32_scheme() { return int8w<32>("int8w_g32", "W8A16 per-group(32)", int8w_g32_kernel_table); }
const Scheme& int8w_g64_scheme() { return int8w<64>("int8w_g64", "W8A16 per-group(64)", int8w_g64_kernel_table); }
const Scheme& int8w_g128_scheme() { return int8w<128>("int8w_g128", "W8A16 per-group(128)", int8w_g128_kernel_table); }

}  // namespace trimeter
