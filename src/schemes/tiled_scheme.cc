#include "schemes/tiled_scheme.h"

#include "base/error.h"

namespace trimeter {

WeightBytes TiledScheme::bytes(MatShape shape) const {
  return {.values = values_offset(shape, padded_rows(shape.out)),
          .scales = scales_offset(shape, padded_rows(shape.out))};
}

std::string TiledScheme::refuses(MatShape shape) const {
  if (shape.out > 0 && shape.in > 0) return "";
  return fmt::format("the shape {} x {} is empty", shape.out, shape.in);
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
  int64_t bytes = Arena::bytes_for(n_tokens * input_stride_bytes(in, kernels(isa).x_element_bytes));
  if (layout_.token_scales) bytes += Arena::bytes_for(n_tokens * static_cast<int64_t>(sizeof(float)));
  if (layout_.group_sums) bytes += Arena::bytes_for(n_tokens * n_groups(in) * static_cast<int64_t>(sizeof(float)));
  return bytes;
}

PreparedInput TiledScheme::take_prepared(Arena& arena, int64_t n_tokens, int64_t in, Isa isa) const {
  PreparedInput prepared{.n_tokens = n_tokens, .in = in};
  prepared.values = arena.take<char>(n_tokens * input_stride_bytes(in, kernels(isa).x_element_bytes));
  if (layout_.token_scales) prepared.row_scales = arena.take<float>(n_tokens);
  if (layout_.group_sums) prepared.group_sums = arena.take<float>(n_tokens * n_groups(in));
  return prepared;
}

void TiledScheme::prepare(const PackedWeight&, const float* x, int64_t token_begin, int64_t token_end,
                          const PreparedInput& prepared, Isa isa) const {
  kernels(isa).prepare({.x = x,
                        .in = prepared.in,
                        .token_begin = token_begin,
                        .token_end = token_end,
                        .values = prepared.values,
                        .row_scales = prepared.row_scales,
                        .group_sums = prepared.group_sums});
}

void TiledScheme::multiply(const PackedWeight& weight, const PreparedInput& x, int64_t row_begin, int64_t row_end,
                           const float* bias, bool accumulate, float* y, int64_t ldy, Isa isa) const {
  TM_CHECK(x.in == weight.shape.in, "{}: x is {} wide, w is {} x {}", info_.name, x.in, weight.shape.out,
           weight.shape.in);
  TM_CHECK(row_begin % kTileRows == 0 && row_begin <= row_end && row_end <= weight.shape.out, "{}: rows [{}, {}) of {}",
           info_.name, row_begin, row_end, weight.shape.out);
  kernels(isa).multiply({.values = weight.values.as<char>(),
                         .scales = weight.scales.as<char>(),
                         .out = weight.shape.out,
                         .in = weight.shape.in,
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

PackedWeight TiledScheme::take_packed(MatShape shape) const {
  check_shape(shape);
  const WeightBytes sizes = bytes(shape);
  PackedWeight packed;
  packed.shape = shape;
  packed.values = Buffer(sizes.values, "packed weight");
  packed.scales = Buffer(sizes.scales, "packed scales");
  return packed;
}

int64_t TiledScheme::values_offset(MatShape shape, int64_t tile) const {
  const double bits_per_row = static_cast<double>(round_up(shape.in, layout_.step)) * info_.bits_per_weight;
  return tile * static_cast<int64_t>(bits_per_row / 8);
}

int64_t TiledScheme::scales_offset(MatShape shape, int64_t tile) const {
  return tile / kRowVector * n_groups(shape.in) * layout_.group_bytes;
}

}  // namespace trimeter
