#include "schemes/integer_scheme.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "schemes/dense.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

int64_t scale_bytes(const IntegerGrid& grid) { return grid.f32_scales ? 4 : 2; }

uint16_t encode_scale(float scale, DType dtype) {
  return dtype == DType::kBF16 ? bf16_from_float(scale) : f16_from_float(scale);
}
float decode_scale(uint16_t bits, DType dtype) {
  return dtype == DType::kBF16 ? bf16_to_float(bits) : f16_to_float(bits);
}

}  // namespace

// Where a row's words, scales and zero points lie, in bytes.
struct IntegerScheme::RowPlace {
  int64_t row;            // in the panel
  int64_t words, scales;  // before the panel
  int64_t step, group_bytes, scale_bytes;
  int64_t word(int64_t k) const { return words + (k / step * kPanelRows + row) * 4; }
  int64_t group(int64_t g) const { return scales + g * group_bytes; }
  int64_t scale(int64_t g) const { return group(g) + scale_bytes * row; }
  int64_t zero(int64_t g) const { return group(g) + scale_bytes * kPanelRows + row / 2; }
};

IntegerScheme::RowPlace IntegerScheme::place(MatShape shape, int64_t row) const {
  const int64_t panel = row / kPanelRows * kPanelRows;
  return {.row = row - panel,
          .words = values_offset(shape, panel),
          .scales = scales_offset(shape, panel),
          .step = layout_.step,
          .group_bytes = layout_.group_bytes,
          .scale_bytes = scale_bytes(grid_)};
}

IntegerScheme::IntegerScheme(const SchemeInfo& info, Form form, std::span<const SchemeKernels* const> kernels)
    : TiledScheme(info,
                  {.step = 32 / info.grid->bits,
                   .group_bytes = kPanelRows * scale_bytes(*info.grid) + (info.grid->zero_points ? kPanelRows / 2 : 0),
                   .input_order = info.act_order,
                   .sums_per_group = form.group_sums ? 1 : 0,
                   .input_scales = form.input_scales ? InputScales::kPerToken : InputScales::kNone},
                  kernels),
      grid_(*info.grid) {
  TM_CHECK(grid_.bits == 8 || grid_.bits == 4, "{}: {} bits", info.name, grid_.bits);
  TM_CHECK(grid_.bits == 4 || !grid_.zero_points, "{}: zero points are packed in 4 bits", info.name);
}

// Bit of the word at which k's code begins.
int IntegerScheme::shift_of(int64_t k) const {
  return static_cast<int>(k % layout_.step / 2 * grid_.bits + k % 2 * 16);
}

uint8_t IntegerScheme::zero(const CanonicalWeight& weight, int64_t i) const {
  return grid_.zero_points ? weight.zeros[i] : static_cast<uint8_t>(grid_.middle());
}

CanonicalWeight IntegerScheme::quantize_rtn(std::span<const DenseRows> parts, MatShape shape, ThreadPool& pool) const {
  check_shape(shape);
  check_parts(parts, shape);
  const int64_t n = n_groups(shape.in), group_size = shape.in / n;
  CanonicalWeight weight;
  weight.shape = shape;
  weight.codes.resize(shape.out * shape.in);
  weight.scales.resize(shape.out * n);
  if (grid_.zero_points) weight.zeros.resize(weight.scales.size());
  pool.run_shares(shape.out, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> values(shape.in);
    for (int64_t row = begin; row < end; ++row) {
      read_finite_row(parts, shape, row, values.data());
      for (int64_t g = 0; g < n; ++g) {
        const int64_t i = row * n + g;
        const std::span<const float> group = std::span(values).subspan(g * group_size, group_size);
        const IntegerGrid::Point point = grid_.fit(group);
        weight.scales[i] = point.scale;
        if (grid_.zero_points) weight.zeros[i] = point.zero;
        grid_.code(group, point, &weight.codes[i * group_size]);
      }
    }
  });
  if (info_.static_input) weight.input_scale = 1;
  if (layout_.input_order)
    for (int64_t k = 0; k < shape.in; ++k) weight.group_of_input.push_back(static_cast<int32_t>(k / group_size));
  return weight;
}

std::vector<float> IntegerScheme::dequantize(const CanonicalWeight& weight) const {
  const MatShape shape = weight.shape;
  const int64_t n = n_groups(shape.in), group_size = shape.in / n;
  std::vector<float> values(weight.codes.size());
  for (int64_t row = 0; row < shape.out; ++row)
    for (int64_t k = 0; k < shape.in; ++k) {
      const int64_t i = row * n + (layout_.input_order ? weight.group_of_input[k] : k / group_size);
      values[row * shape.in + k] = grid_.value(weight.codes[row * shape.in + k], {weight.scales[i], zero(weight, i)});
    }
  return values;
}

PackedWeight IntegerScheme::pack(const CanonicalWeight& weight, ThreadPool& pool) const {
  check(weight);
  PackedWeight packed = take_packed(weight.shape);
  packed.scale_dtype = weight.scale_dtype;
  packed.input_scale = weight.input_scale;
  if (layout_.input_order) packed.input_order = inputs_by_group(info_, weight);
  pool.run([&](int thread) {
    const auto [begin, end] = pool.share(weight.shape.out, thread, kPanelRows);
    for (int64_t row = begin; row < end; ++row) pack_row(weight, row, packed);
  });
  return packed;
}

void IntegerScheme::pack_row(const CanonicalWeight& weight, int64_t row, PackedWeight& packed) const {
  const MatShape shape = weight.shape;
  const RowPlace at = place(shape, row);
  const uint8_t* codes = &weight.codes[row * shape.in];
  for (int64_t begin = 0; begin < shape.in; begin += layout_.step) {
    uint32_t word = 0;
    for (int64_t k = begin; k < std::min(begin + layout_.step, shape.in); ++k)
      word |= uint32_t{codes[layout_.input_order ? packed.input_order[k] : k]} << shift_of(k);
    packed.values.as<uint32_t>()[at.word(begin) / 4] = word;
  }
  const int64_t n = n_groups(shape.in);
  for (int64_t g = 0; g < n; ++g) {
    const int64_t i = row * n + g;
    if (grid_.f32_scales)
      packed.scales.as<float>()[at.scale(g) / 4] = weight.scales[i];
    else
      packed.scales.as<uint16_t>()[at.scale(g) / 2] = encode_scale(weight.scales[i], weight.scale_dtype);
    if (!grid_.zero_points) continue;
    uint8_t& zeros = packed.scales.as<uint8_t>()[at.zero(g)];
    zeros = static_cast<uint8_t>(zeros | weight.zeros[i] << (row % 2 * 4));
  }
}

void IntegerScheme::unpack_row(const PackedWeight& weight, int64_t row, float* values) const {
  const MatShape shape = weight.shape;
  const RowPlace at = place(shape, row);
  const int64_t group_size = shape.in / n_groups(shape.in);
  for (int64_t k = 0; k < shape.in; ++k) {
    const int64_t g = k / group_size;
    const uint32_t word = weight.values.as<uint32_t>()[at.word(k) / 4];
    IntegerGrid::Point point{.zero = static_cast<uint8_t>(grid_.middle())};
    point.scale = grid_.f32_scales ? weight.scales.as<float>()[at.scale(g) / 4]
                                   : decode_scale(weight.scales.as<uint16_t>()[at.scale(g) / 2], weight.scale_dtype);
    if (grid_.zero_points) point.zero = weight.scales.as<uint8_t>()[at.zero(g)] >> (row % 2 * 4) & 15;
    const auto code = static_cast<uint8_t>(word >> shift_of(k) & static_cast<uint32_t>(grid_.max_code()));
    values[layout_.input_order ? weight.input_order[k] : k] = grid_.value(code, point);
  }
}

void IntegerScheme::check(const CanonicalWeight& weight) const {
  const MatShape shape = weight.shape;
  check_shape(shape);
  const int64_t n_scales = shape.out * n_groups(shape.in);
  TM_CHECK(std::ssize(weight.codes) == shape.out * shape.in && std::ssize(weight.scales) == n_scales &&
               std::ssize(weight.zeros) == (grid_.zero_points ? n_scales : 0) &&
               std::ssize(weight.group_of_input) == (layout_.input_order ? shape.in : 0),
           "{}: {} codes, {} scales, {} zero points, {} group indices for {} x {}", info_.name, weight.codes.size(),
           weight.scales.size(), weight.zeros.size(), weight.group_of_input.size(), shape.out, shape.in);
  const auto fits = [this](uint8_t code) { return code <= grid_.max_code(); };
  TM_CHECK(std::ranges::all_of(weight.codes, fits) && std::ranges::all_of(weight.zeros, fits),
           "{}: a code or a zero point above {}", info_.name, grid_.max_code());
  check_scales(weight);
  if (grid_.f32_scales) return;
  for (const float scale : weight.scales)
    if (decode_scale(encode_scale(scale, weight.scale_dtype), weight.scale_dtype) != scale)
      throw Error(Errc::kBadFile, "{}: wanted scales that are exact in {}, got {}", info_.name,
                  name(weight.scale_dtype), scale);
}

std::vector<int32_t> inputs_by_group(const SchemeInfo& scheme, const CanonicalWeight& weight) {
  const int64_t group_size = scheme.group_size, n = weight.shape.in / group_size;
  std::vector<int64_t> n_inputs(n);
  for (const int32_t group : weight.group_of_input)
    if (group < 0 || group >= n || ++n_inputs[group] > group_size)
      throw Error(Errc::kBadFile, "{}: group index {}: wanted {} groups of {} inputs each", scheme.name, group, n,
                  group_size);
  std::vector<int32_t> order(weight.group_of_input.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](int32_t k) { return weight.group_of_input[k]; });
  return order;
}

}  // namespace trimeter
