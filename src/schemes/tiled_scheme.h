// What all schemes of schemes/tile.h share: sizes, preparation of inputs, dispatch to the kernel of an ISA.
#pragma once
#include <span>
#include <string>

#include "schemes/kernel_table.h"
#include "schemes/scheme.h"

namespace trimeter {

class TiledScheme : public Scheme {
 public:
  const SchemeInfo& info() const final { return info_; }
  WeightBytes bytes(MatShape shape) const final;
  std::string refuses(MatShape shape) const override;
  KernelPlan plan(Isa isa) const final;
  int64_t prepared_bytes(int64_t n_tokens, int64_t in, Isa isa) const final;
  PreparedInput take_prepared(Arena& arena, int64_t n_tokens, int64_t in, Isa isa) const final;
  void prepare(const PackedWeight& weight, const float* x, int64_t token_begin, int64_t token_end,
               const PreparedInput& prepared, Isa isa) const final;
  void multiply(const PackedWeight& weight, const PreparedInput& x, int64_t row_begin, int64_t row_end,
                const float* bias, bool accumulate, float* y, int64_t ldy, Isa isa) const final;

 protected:
  enum class InputScales { kNone, kPerToken, kPerTokenAndGroup };
  struct Layout {
    int64_t step;                     // `in` is padded to a multiple of it
    int64_t group_bytes = 0;          // scales and zero points of scale_rows rows and one group
    int64_t scale_rows = kPanelRows;  // a multiple of 16
    bool input_order = false;         // act-order
    int64_t sums_per_group = 0;       // of the input, as the kernel wants them
    InputScales input_scales = InputScales::kNone;
  };
  TiledScheme(const SchemeInfo& info, Layout layout, std::span<const SchemeKernels* const> kernels);

  // A row without groups is one.
  int64_t n_groups(int64_t in) const { return info_.group_size > 0 ? in / info_.group_size : 1; }
  // Throws Error(kUnsupported) with the reason of refuses().
  void check_shape(MatShape shape) const;
  // Throws Error(kBadFile) for scales that are not finite, and an input scale that the scheme needs and is not above 0.
  void check_scales(const CanonicalWeight& weight) const;
  // Zeroed buffers of the ledger's size.
  PackedWeight take_packed(MatShape shape) const;
  // Bytes before the panel that begins at `row`.
  int64_t values_offset(MatShape shape, int64_t row) const;
  int64_t scales_offset(MatShape shape, int64_t row) const;
  // Bytes of a packed weight's buffer of scales.
  int64_t scales_bytes(MatShape shape) const;

  const SchemeInfo info_;
  const Layout layout_;

 private:
  int64_t scales_per_token(int64_t in) const;
  int64_t sums_per_token(int64_t in) const { return n_groups(in) * layout_.sums_per_group; }
  const SchemeKernels& kernels(Isa isa) const { return *kernels_[static_cast<size_t>(isa)]; }
  const std::span<const SchemeKernels* const> kernels_;
};

}  // namespace trimeter
