#include "containers/scheme_traits.h"

#include "base/error.h"

namespace trimeter {
namespace {

using Type = SchemeTraits::Type;
using Scales = SchemeTraits::Scales;
using Inputs = SchemeTraits::Inputs;

struct Row {
  std::string_view scheme;
  SchemeTraits traits;
};
constexpr Row kRows[] = {
    {"fp8_e4m3", {.type = Type::kFloat, .bits = 8, .scales = Scales::kTensor, .inputs = Inputs::kPerToken}},
    {"fp8_e4m3_channel", {.type = Type::kFloat, .bits = 8, .scales = Scales::kChannel, .inputs = Inputs::kPerToken}},
    {"fp8_e4m3_block128", {.type = Type::kFloat, .bits = 8, .scales = Scales::kBlock, .inputs = Inputs::kPerToken}},
    {"fp8_e4m3_static", {.type = Type::kFloat, .bits = 8, .scales = Scales::kTensor, .inputs = Inputs::kStatic}},
    {"fp8_e4m3_channel_static",
     {.type = Type::kFloat, .bits = 8, .scales = Scales::kChannel, .inputs = Inputs::kStatic}},
    {"int8", {.bits = 8, .scales = Scales::kChannel, .inputs = Inputs::kPerToken}},
    {"int8_static", {.bits = 8, .scales = Scales::kChannel, .inputs = Inputs::kStatic}},
    {"int8w", {.bits = 8, .scales = Scales::kChannel}},
    {"int8w_g32", {.bits = 8, .group_size = 32}},
    {"int8w_g64", {.bits = 8, .group_size = 64}},
    {"int8w_g128", {.bits = 8, .group_size = 128}},
    {"int4_g32", {.group_size = 32}},
    {"int4_g64", {.group_size = 64}},
    {"int4_g128", {.group_size = 128}},
    {"int4_channel", {.scales = Scales::kChannel}},
    {"int4_g32_zp", {.group_size = 32, .zero_points = true}},
    {"int4_g64_zp", {.group_size = 64, .zero_points = true}},
    {"int4_g128_zp", {.group_size = 128, .zero_points = true}},
    {"int4_channel_zp", {.scales = Scales::kChannel, .zero_points = true}},
    {"int4_g32_order", {.group_size = 32, .act_order = true}},
    {"int4_g64_order", {.group_size = 64, .act_order = true}},
    {"int4_g128_order", {.group_size = 128, .act_order = true}},
    {"int4_g32_zp_order", {.group_size = 32, .zero_points = true, .act_order = true}},
    {"int4_g64_zp_order", {.group_size = 64, .zero_points = true, .act_order = true}},
    {"int4_g128_zp_order", {.group_size = 128, .zero_points = true, .act_order = true}},
};

}  // namespace

std::string SchemeTraits::text() const {
  static constexpr std::string_view kInputs[] = {"16-bit", "per-token dynamic", "per-tensor static"};
  std::string granularity;
  switch (scales) {
    case Scales::kTensor:
      granularity = "per-tensor";
      break;
    case Scales::kChannel:
      granularity = "per-channel";
      break;
    case Scales::kGroup:
      granularity = fmt::format("per-group({})", group_size);
      break;
    case Scales::kBlock:
      granularity = fmt::format("per-block({} x {})", kScaleBlock, kScaleBlock);
      break;
  }
  return fmt::format("{}{} weights {}{}{}, {} activations", type == Type::kInt ? "int" : "fp", bits, granularity,
                     zero_points ? " with zero points" : "", act_order ? " in act-order" : "",
                     kInputs[static_cast<int>(inputs)]);
}

const SchemeTraits* traits_of(const Scheme& scheme) {
  for (const Row& row : kRows)
    if (row.scheme == scheme.info().name) return &row.traits;
  return nullptr;
}

const Scheme& scheme_of(const SchemeTraits& traits, const std::string& where) {
  for (const Row& row : kRows)
    if (row.traits == traits) return scheme(row.scheme);
  throw Error(Errc::kUnsupported, "{}: there is no scheme for {}", where, traits.text());
}

}  // namespace trimeter
