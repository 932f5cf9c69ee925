// A scheme: the grid and the scales of a linear layer's weights, the form of its activations, the arithmetic that runs,
// its packing in memory, its kernels and its bytes. A folder each, whose schemes.def names what it gives; nothing
// outside a scheme's folder switches on which one it is.
//
// Two forms of a weight:
//   CanonicalWeight  what algorithms write and containers read: one code per byte, plain row-major, no kernel in mind
//   PackedWeight     what kernels read: panels of 16 output rows, see schemes/tile.h
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "schemes/integer_grid.h"
#include "schemes/tile.h"
#include "tensor/buffer.h"
#include "tensor/dtype.h"

namespace trimeter {

struct MatShape {
  int64_t out = 0, in = 0;
};

// Rows of a matrix of 16- or 32-bit floats, in place (in the mapped file, usually).
struct DenseRows {
  const std::byte* data = nullptr;  // [n_rows, in], row-major, any alignment
  DType dtype = DType::kBF16;
  int64_t n_rows = 0;
};

struct CanonicalWeight {
  MatShape shape;
  std::vector<DenseRows> dense;  // schemes of floats: the parts, stacked
  // Schemes of codes: [out, in], one code per byte (integers: schemes/integer_grid.h). Schemes of ggml blocks: the
  // blocks as they lie in a file, [out, bytes of a row].
  std::vector<uint8_t> codes;
  std::vector<float> scales;  // [out or 1, n_groups or 1], as the scheme says; block 128 x 128: [out blocks, in blocks]
  std::vector<uint8_t> zeros;  // [out, n_groups] if the scheme has zero points
  // What the scales are in memory, in schemes that keep them in 16 bits: kF16 or kBF16. Each must be exact in it.
  DType scale_dtype = DType::kF16;
  float input_scale = 0;  // of activations, schemes with a static one; quantize_rtn, which sees none, leaves 1
  // Act-order, schemes that have it: the group of each input [in], every group with group_size of them (GPTQ's g_idx).
  std::vector<int32_t> group_of_input;
  std::vector<CanonicalWeight> parts;  // schemes/stacked_scheme.h: instead of all that is above but the shape
};

struct WeightBytes {
  int64_t values = 0, scales = 0;  // scales: with zero points
  int64_t total() const { return values + scales; }
};

struct SchemeInfo {
  std::string_view name;       // "int4_g128_zp"
  std::string_view title;      // "W4A16 per-group(128), zero points"
  double bits_per_weight;      // of the values alone
  int64_t group_size;          // along `in`; 0: the scheme has no groups
  DType activation;            // the dtype the multiply sees: kBF16, kF16, kF32, kF8E4M3, kI8
  std::string_view requested;  // arithmetic asked for: "bf16", "fp8", "int8", "fp32"
  // Values of a token that share a scale, schemes with quantized activations; 0: all of them.
  int64_t activation_group = 0;
  const IntegerGrid* grid = nullptr;  // of the codes, for algorithms that choose them one by one; nullptr: none
  bool static_input = false;          // activations are quantized with the weight's input_scale
  bool act_order = false;             // weights say the group of each input (CanonicalWeight::group_of_input)
};

// Which kernel a linear of this scheme gets on a machine: pure, printable, the same for loader, cost model and report.
struct KernelPlan {
  std::string kernel;     // "fp8_e4m3.avx512_bf16"
  std::string requested;  // arithmetic the scheme asks for
  std::string executed;   // arithmetic that runs: "bf16", "fp32"
  std::string reason;     // why they differ; empty if they don't
};

// Input activations of one linear, in the form its kernel multiplies. Lives in the caller's arena.
struct PreparedInput {
  int64_t n_tokens = 0, in = 0;
  char* values = nullptr;       // as the kernel of this ISA wants them: schemes/tile.h
  float* row_scales = nullptr;  // [n_tokens] or [n_tokens, n_groups], schemes with quantized activations; else nullptr
  // [n_tokens, n_groups], schemes whose codes are off by a constant (zero points): sums of the values as multiplied.
  // ggml's blocks have scales and sums in an order of their own, and some sums in integers (schemes/ggml/panel.h).
  float* group_sums = nullptr;
  // schemes/stacked_scheme.h: of each part, instead. Not in the arena, which many inputs share one after the other.
  struct Part {
    char* values = nullptr;
    float *row_scales = nullptr, *group_sums = nullptr;
  };
  std::array<Part, 3> parts{};
};

struct PackedWeight {
  MatShape shape;
  Buffer values, scales;      // sizes are the ledger's, with rows padded to a multiple of 16 (WeightBytes says so)
  float tensor_scale = 1.0f;  // schemes with one scale per tensor
  DType scale_dtype = DType::kF16;
  float input_scale = 0;  // as CanonicalWeight's
  // Act-order: packed column k is input input_order[k]; empty if they lie in their own order. In WeightBytes: scales.
  std::vector<int32_t> input_order;
  std::vector<PackedWeight> parts;  // schemes/stacked_scheme.h: instead of the buffers

  WeightBytes bytes() const;  // counted from the buffers
};

class Scheme {
 public:
  virtual ~Scheme() = default;
  virtual const SchemeInfo& info() const = 0;

  // The ledger's row: equal to the packed buffers' sizes (a generic test holds every scheme to it).
  virtual WeightBytes bytes(MatShape shape) const = 0;
  // Why this shape can't be held; empty if it can. ("in = 900 is not a multiple of the group size 128")
  virtual std::string refuses(MatShape shape) const = 0;
  virtual KernelPlan plan(Isa isa) const = 0;

  // Nearest codes and scales without looking at any activation (amax or min/max): the RTN of this scheme's grid.
  virtual CanonicalWeight quantize_rtn(std::span<const DenseRows> parts, MatShape shape, ThreadPool& pool) const = 0;
  CanonicalWeight quantize_rtn(std::span<const DenseRows> parts, MatShape shape) const {
    ThreadPool alone(1);
    return quantize_rtn(parts, shape, alone);
  }
  // The scalar decode formula, w[out, in] in float.
  virtual std::vector<float> dequantize(const CanonicalWeight& weight) const = 0;
  // Canonical to packed, and one row of the packed form back to float (embedding look-up in a tied lm_head, tests).
  virtual PackedWeight pack(const CanonicalWeight& weight, ThreadPool& pool) const = 0;
  virtual void unpack_row(const PackedWeight& weight, int64_t row, float* values) const = 0;

  // Bytes that prepare() takes from an arena for n_tokens inputs of width `in` (Arena::bytes_for included).
  virtual int64_t prepared_bytes(int64_t n_tokens, int64_t in, Isa isa) const = 0;
  virtual PreparedInput take_prepared(Arena& arena, int64_t n_tokens, int64_t in, Isa isa) const = 0;
  // Fills tokens [token_begin, token_end) of `prepared` from x [n_tokens, in] float: rounds or quantizes as the scheme
  // says, with the weight's own input_scale and input_order where there are any. Tokens are independent of each other.
  virtual void prepare(const PackedWeight& weight, const float* x, int64_t token_begin, int64_t token_end,
                       const PreparedInput& prepared, Isa isa) const = 0;
  // y[t, row] (+)= sum_k x[t,k] w[row,k] + bias[row] for all tokens and rows [row_begin, row_end), row_begin a multiple
  // of kPanelRows. y is [n_tokens, ldy]. bias may be null. accumulate adds to what y holds (the residual).
  // Batch-invariant: an output's bits depend on its row of w and its token's x alone, whatever n_tokens and the range.
  virtual void multiply(const PackedWeight& weight, const PreparedInput& x, int64_t row_begin, int64_t row_end,
                        const float* bias, bool accumulate, float* y, int64_t ldy, Isa isa) const = 0;
};

// TM_SCHEME(name) of every folder's schemes.def; the folder defines `const Scheme& name_scheme()`.
std::span<const Scheme* const> all_schemes();
// Throws Error(kBadArgument) with the list of names.
const Scheme& scheme(std::string_view name);

}  // namespace trimeter
