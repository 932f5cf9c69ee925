// Schemes whose weights lie on an IntegerGrid of 4 or 8 bits: all but their kernels.
//
// Packed: a step is 32 bits of a row, 8 or 4 k's. Pair j of them, k_2j and k_2j+1, lies at bit j * bits of the lower
// and of the upper half, so that one shift brings a pair to the bottom of both halves. Scales, per tile and group:
// [rows] of 16 or 32 bits, then, with zero points, [rows / 2] bytes, the even row in the lower nibble. Act-order: the
// columns lie sorted by group, those of a group in their own order.
#pragma once
#include <span>
#include <vector>

#include "schemes/tiled_scheme.h"

namespace trimeter {

// Act-order: the inputs sorted by their group, those of a group in their own order. Throws Error(kBadFile) for a group
// that does not exist or has more or fewer inputs than the others.
std::vector<int32_t> inputs_by_group(const SchemeInfo& scheme, const CanonicalWeight& weight);

class IntegerScheme : public TiledScheme {
 public:
  struct Form {
    bool group_sums = false;  // what the kernel wants of the input, as in Layout
    bool input_scales = false;
  };
  // info.grid says bits, group size and zero points, and outlives the scheme.
  IntegerScheme(const SchemeInfo& info, Form form, std::span<const SchemeKernels* const> kernels);

  CanonicalWeight quantize_rtn(std::span<const DenseRows> parts, MatShape shape, ThreadPool& pool) const override;
  std::vector<float> dequantize(const CanonicalWeight& weight) const override;
  // Throws Error(kBadFile) for a scale that is not exact in weight.scale_dtype, and for a group_of_input that names a
  // group which does not exist or gives one more or fewer inputs than a group has.
  PackedWeight pack(const CanonicalWeight& weight, ThreadPool& pool) const override;
  void unpack_row(const PackedWeight& weight, int64_t row, float* values) const override;

 private:
  struct RowPlace;
  RowPlace place(MatShape shape, int64_t row) const;
  int shift_of(int64_t k) const;
  uint8_t zero(const CanonicalWeight& weight, int64_t i) const;
  void check(const CanonicalWeight& weight) const;
  void pack_row(const CanonicalWeight& weight, int64_t row, PackedWeight& packed) const;

  const IntegerGrid& grid_;
};

}  // namespace trimeter
