#include "schemes/tiled_scheme.h"

#include <cmath>

#include "base/error.h"

namespace trimeter {

TiledScheme::TiledScheme(const SchemeInfo& info, Layout layout, std::span<const SchemeKernels* const> kernels)
    : info_(info), layout_(layout), kernels_(kernels) {
  TM_CHECK(info.group_size == 0 || (kMaxGroup % info.group_size == 0 && info.group_size % layout.step == 0),
           "{}: groups of {}", info.name, info.group_size);
}

WeightBytes TiledScheme::bytes(MatShape shape) const {
  const int64_t order = layout_.input_order ? shape.in * static_cast<int64_t>(sizeof(int32_t)) : 0;
  return {.values = values_offset(shape, padded_rows(shape.out)), .scales = scales_bytes(shape) + order};
}

std::string TiledScheme::refuses(MatShape shape) const {
  if (shape.out <= 0 || shape.in <= 0) return fmt::format("the shape {} x {} is empty", shape.out, shape.in);
  if (info_.group_size > 0 && shape.in % info_.group_size != 0)
    return fmt::format("in = {} is not a multiple of the group size {}", shape.in, info_.group_size);
  return "";
}

KernelPlan TiledScheme::plan(Isa isa) const {
  KernelPlan plan{.kernel = fmt::format("{}.{}", info_.name, name(isa)),
                  .requested = std::string(info_.requested),
                  .executed = kernels(isa).executed,
                  .reason = {}};
  if (plan.executed != plan.requested) plan.reason = fmt::format("no {} dot units in {}", plan.requested, name(isa));
  return plan;
}

int64_t TiledScheme::prepared_bytes(int64_t n_tokens, int64_t in, Isa isa) const {
  int64_t bytes = Arena::bytes_for(n_tokens * input_bytes(in, kernels(isa).x_element_bytes));
  if (const int64_t n = n_tokens * scales_per_token(in); n > 0)
    bytes += Arena::bytes_for(n * static_cast<int64_t>(sizeof(float)));
  if (const int64_t n = n_tokens * sums_per_token(in); n > 0)
    bytes += Arena::bytes_for(n * static_cast<int64_t>(sizeof(float)));
  return bytes;
}

PreparedInput TiledScheme::take_prepared(Arena& arena, int64_t n_tokens, int64_t in, Isa isa) const {
  PreparedInput prepared{.n_tokens = n_tokens, .in = in};
  prepared.values = arena.take<char>(n_tokens * input_bytes(in, kernels(isa).x_element_bytes));
  if (const int64_t n = n_tokens * scales_per_token(in); n > 0) prepared.row_scales = arena.take<float>(n);
  if (const int64_t n = n_tokens * sums_per_token(in); n > 0) prepared.group_sums = arena.take<float>(n);
  return prepared;
}

int64_t TiledScheme::scales_per_token(int64_t in) const {
  if (layout_.input_scales == InputScales::kNone) return 0;
  return layout_.input_scales == InputScales::kPerToken ? 1 : n_groups(in);
}

void TiledScheme::prepare(const PackedWeight& weight, const float* x, int64_t token_begin, int64_t token_end,
                          const PreparedInput& prepared, Isa isa) const {
  TM_CHECK(prepared.in == weight.shape.in, "{}: x is {} wide, w is {} x {}", info_.name, prepared.in, weight.shape.out,
           weight.shape.in);
  kernels(isa).prepare({.x = x,
                        .in = prepared.in,
                        .n_tokens = prepared.n_tokens,
                        .token_begin = token_begin,
                        .token_end = token_end,
                        .n_groups = n_groups(prepared.in),
                        .input_scale = info_.static_input ? weight.input_scale : 0,
                        .input_order = weight.input_order.empty() ? nullptr : weight.input_order.data(),
                        .values = prepared.values,
                        .row_scales = prepared.row_scales,
                        .group_sums = prepared.group_sums});
}

void TiledScheme::multiply(const PackedWeight& weight, const PreparedInput& x, int64_t row_begin, int64_t row_end,
                           const float* bias, bool accumulate, float* y, int64_t ldy, Isa isa) const {
  TM_CHECK(x.in == weight.shape.in, "{}: x is {} wide, w is {} x {}", info_.name, x.in, weight.shape.out,
           weight.shape.in);
  TM_CHECK(row_begin % kPanelRows == 0 && row_begin <= row_end && row_end <= weight.shape.out,
           "{}: rows [{}, {}) of {}", info_.name, row_begin, row_end, weight.shape.out);
  kernels(isa).multiply({.values = weight.values.as<char>(),
                         .scales = weight.scales.as<char>(),
                         .scale_rows = layout_.scale_rows,
                         .group_bytes = layout_.group_bytes,
                         .bf16_scales = weight.scale_dtype == DType::kBF16,
                         .out = weight.shape.out,
                         .in = weight.shape.in,
                         .n_groups = n_groups(weight.shape.in),
                         .tensor_scale = weight.tensor_scale,
                         .x = x.values,
                         .row_scales = x.row_scales,
                         .group_sums = x.group_sums,
                         .n_tokens = x.n_tokens,
                         .row_begin = row_begin,
                         .row_end = row_end,
                         .bias = bias,
                         .accumulate = accumulate,
                         .y = y,
                         .ldy = ldy});
}

void TiledScheme::check_shape(MatShape shape) const {
  if (const std::string reason = refuses(shape); !reason.empty())
    throw Error(Errc::kUnsupported, "{}: {}", info_.name, reason);
}

void TiledScheme::check_scales(const CanonicalWeight& weight) const {
  for (const float scale : weight.scales)
    if (!std::isfinite(scale)) throw Error(Errc::kBadFile, "{}: wanted finite scales, got {}", info_.name, scale);
  if (info_.static_input && !(weight.input_scale > 0 && std::isfinite(weight.input_scale)))
    throw Error(Errc::kBadFile, "{}: wanted a finite input scale above 0, got {}", info_.name, weight.input_scale);
}

PackedWeight TiledScheme::take_packed(MatShape shape) const {
  check_shape(shape);
  const WeightBytes sizes = bytes(shape);
  PackedWeight packed;
  packed.shape = shape;
  packed.values = Buffer(sizes.values, "packed weight");
  packed.scales = Buffer(scales_bytes(shape), "packed scales");
  return packed;
}

int64_t TiledScheme::values_offset(MatShape shape, int64_t row) const {
  const double bits_per_row = static_cast<double>(round_up(shape.in, layout_.step)) * info_.bits_per_weight;
  return row * static_cast<int64_t>(bits_per_row / 8);
}

int64_t TiledScheme::scales_offset(MatShape shape, int64_t row) const {
  return row / layout_.scale_rows * n_groups(shape.in) * layout_.group_bytes;
}

int64_t TiledScheme::scales_bytes(MatShape shape) const {
  return scales_offset(shape, round_up(shape.out, layout_.scale_rows));
}

}  // namespace trimeter
