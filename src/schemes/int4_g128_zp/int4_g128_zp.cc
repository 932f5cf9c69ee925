#include "schemes/int4_g128_zp/int4_g128_zp.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "schemes/dense.h"
#include "schemes/tiled_scheme.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr int64_t kGroup = 128, kStep = 8, kGroupBytes = 40;  // of 16 rows
constexpr IntegerGrid kGrid{.bits = 4, .zero_points = true, .group_size = kGroup};
constexpr SchemeInfo kInfo{.name = "int4_g128_zp",
                           .title = "W4A16 per-group(128), zero points",
                           .bits_per_weight = 4,
                           .group_size = kGroup,
                           .activation = DType::kBF16,
                           .requested = "bf16",
                           .grid = &kGrid};

// Bit of the word at which k's nibble begins.
int shift_of(int64_t k) { return static_cast<int>(k % 8 / 2 * 4 + k % 2 * 16); }

// Where a row's words, scales and zero points lie.
struct RowPlace {
  int64_t n_rows, row;    // of the tile; in the tile
  int64_t words, scales;  // 32-bit words and bytes before the tile
  int64_t word(int64_t k) const { return words + k / kStep * n_rows + row; }
  int64_t scale(int64_t g) const { return scales + g * n_rows / kRowVector * kGroupBytes + 2 * row; }
  int64_t zero(int64_t g) const { return scales + g * n_rows / kRowVector * kGroupBytes + 2 * n_rows + row / 2; }
  RowPlace(MatShape shape, int64_t r) {
    const int64_t tile = r / kTileRows * kTileRows;
    n_rows = tile_rows(shape.out, tile);
    row = r - tile;
    words = tile * shape.in / kStep;
    scales = tile / kRowVector * (shape.in / kGroup) * kGroupBytes;
  }
};

float to_f16_value(float scale) { return f16_to_float(f16_from_float(scale)); }

class Int4G128Zp final : public TiledScheme {
 public:
  Int4G128Zp()
      : TiledScheme(kInfo, {.step = kStep, .group_bytes = kGroupBytes, .group_sums = true}, int4_g128_zp_kernel_table) {
  }

  std::string refuses(MatShape shape) const override {
    if (shape.in % kGroup != 0) return fmt::format("in = {} is not a multiple of the group size {}", shape.in, kGroup);
    return TiledScheme::refuses(shape);
  }

  CanonicalWeight quantize_rtn(std::span<const DenseRows> parts, MatShape shape) const override {
    check_shape(shape);
    check_parts(parts, shape);
    CanonicalWeight weight;
    weight.shape = shape;
    weight.codes.resize(shape.out * shape.in);
    weight.scales.resize(shape.out * n_groups(shape.in));
    weight.zeros.resize(weight.scales.size());
    std::vector<float> values(shape.in);
    for (int64_t row = 0; row < shape.out; ++row) {
      read_finite_row(parts, shape, row, values.data());
      for (int64_t g = 0; g < n_groups(shape.in); ++g) {
        const int64_t i = row * n_groups(shape.in) + g;
        const std::span<const float> group = std::span(values).subspan(g * kGroup, kGroup);
        const IntegerGrid::Point point = kGrid.fit(group);
        weight.scales[i] = point.scale;
        weight.zeros[i] = point.zero;
        for (int64_t k = 0; k < kGroup; ++k) weight.codes[i * kGroup + k] = kGrid.code(group[k], point);
      }
    }
    return weight;
  }

  std::vector<float> dequantize(const CanonicalWeight& weight) const override {
    std::vector<float> values(weight.codes.size());
    for (size_t i = 0; i < values.size(); ++i)
      values[i] =
          static_cast<float>(weight.codes[i] - weight.zeros[i / kGroup]) * to_f16_value(weight.scales[i / kGroup]);
    return values;
  }

  PackedWeight pack(const CanonicalWeight& weight, ThreadPool& pool) const override {
    const MatShape shape = weight.shape;
    check_codes(weight);
    PackedWeight packed = take_packed(shape);
    pool.run([&](int thread) {
      const auto [begin, end] = pool.share(shape.out, thread, kTileRows);
      for (int64_t row = begin; row < end; ++row) pack_row(weight, row, packed);
    });
    return packed;
  }

  void unpack_row(const PackedWeight& weight, int64_t row, float* values) const override {
    const RowPlace place(weight.shape, row);
    const uint32_t* words = weight.values.as<uint32_t>();
    for (int64_t k = 0; k < weight.shape.in; ++k) {
      const int64_t g = k / kGroup;
      const int q = static_cast<int>(words[place.word(k)] >> shift_of(k) & 15u);
      const int z = weight.scales.as<uint8_t>()[place.zero(g)] >> (row % 2 * 4) & 15;
      values[k] = static_cast<float>(q - z) * f16_to_float(weight.scales.as<uint16_t>()[place.scale(g) / 2]);
    }
  }

 private:
  void pack_row(const CanonicalWeight& weight, int64_t row, PackedWeight& packed) const {
    const MatShape shape = weight.shape;
    const RowPlace place(shape, row);
    const uint8_t* codes = &weight.codes[row * shape.in];
    for (int64_t k = 0; k < shape.in; ++k)
      packed.values.as<uint32_t>()[place.word(k)] |= static_cast<uint32_t>(codes[k]) << shift_of(k);
    for (int64_t g = 0; g < n_groups(shape.in); ++g) {
      const int64_t i = row * n_groups(shape.in) + g;
      packed.scales.as<uint16_t>()[place.scale(g) / 2] = f16_from_float(weight.scales[i]);
      uint8_t& zeros = packed.scales.as<uint8_t>()[place.zero(g)];
      zeros = static_cast<uint8_t>(zeros | weight.zeros[i] << (row % 2 * 4));
    }
  }

  void check_codes(const CanonicalWeight& weight) const {
    const MatShape shape = weight.shape;
    check_shape(shape);
    const int64_t n_scales = shape.out * n_groups(shape.in);
    TM_CHECK(static_cast<int64_t>(weight.codes.size()) == shape.out * shape.in &&
                 static_cast<int64_t>(weight.scales.size()) == n_scales &&
                 static_cast<int64_t>(weight.zeros.size()) == n_scales,
             "{}: {} codes, {} scales, {} zero points for {} x {}", kInfo.name, weight.codes.size(),
             weight.scales.size(), weight.zeros.size(), shape.out, shape.in);
    const auto fits = [](uint8_t code) { return code <= static_cast<float>(kGrid.max_code()); };
    TM_CHECK(std::all_of(weight.codes.begin(), weight.codes.end(), fits) &&
                 std::all_of(weight.zeros.begin(), weight.zeros.end(), fits),
             "{}: a code or a zero point above 15", kInfo.name);
  }
};

}  // namespace

const Scheme& int4_g128_zp_scheme() {
  static const Int4G128Zp scheme;
  return scheme;
}

}  // namespace trimeter
