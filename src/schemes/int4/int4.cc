#include "schemes/int4/int4.h"

#include "schemes/integer_scheme.h"

namespace trimeter {
namespace {

enum class Zero { kMiddle, kPoints };
enum class Order { kOwn, kGroups };

// kGroup 0: a whole row.
template <int64_t kGroup, Zero kZero = Zero::kMiddle, Order kOrder = Order::kOwn>
const Scheme& int4(std::string_view name, std::string_view title) {
  constexpr bool kZeroPoints = kZero == Zero::kPoints;
  static constexpr IntegerGrid kGrid{.bits = 4, .zero_points = kZeroPoints, .group_size = kGroup};
  static const IntegerScheme scheme({.name = name,
                                     .title = title,
                                     .bits_per_weight = 4,
                                     .group_size = kGroup,
                                     .activation = DType::kBF16,
                                     .requested = "bf16",
                                     .grid = &kGrid,
                                     .act_order = kOrder == Order::kGroups},
                                    {.group_sums = kZeroPoints},
                                    kGroup == 0   ? int4_channel_kernel_table
                                    : kZeroPoints ? int4_zp_kernel_table
                                                  : int4_kernel_table);
  return scheme;
}

}  // namespace

#define TM_INT4(scheme, title, ...) \
  const Scheme& scheme##_scheme() { return int4<__VA_ARGS__>(#scheme, "W4A16 " title); }
TM_INT4(int4_g32, "per-group(32)", 32)
TM_INT4(int4_g64, "per-group(64)", 64)
TM_INT4(int4_g128, "per-group(128)", 128)
TM_INT4(int4_channel, "per-channel", 0)
TM_INT4(int4_g32_zp, "per-group(32), zero points", 32, Zero::kPoints)
TM_INT4(int4_g64_zp, "per-group(64), zero points", 64, Zero::kPoints)
TM_INT4(int4_g128_zp, "per-group(128), zero points", 128, Zero::kPoints)
TM_INT4(int4_channel_zp, "per-channel, zero points", 0, Zero::kPoints)
TM_INT4(int4_g32_order, "per-group(32), act-order", 32, Zero::kMiddle, Order::kGroups)
TM_INT4(int4_g64_order, "per-group(64), act-order", 64, Zero::kMiddle, Order::kGroups)
TM_INT4(int4_g128_order, "per-group(128), act-order", 128, Zero::kMiddle, Order::kGroups)
TM_INT4(int4_g32_zp_order, "per-group(32), zero points, act-order", 32, Zero::kPoints, Order::kGroups)
TM_INT4(int4_g64_zp_order, "per-group(64), zero points, act-order", 64, Zero::kPoints, Order::kGroups)
TM_INT4(int4_g128_zp_order, "per-group(128), zero points, act-order", 128, Zero::kPoints, Order::kGroups)
#undef TM_INT4

}  // namespace trimeter
