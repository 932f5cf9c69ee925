// Products of a prepared input with a weight on a card, named by what lies in memory and not by a scheme.
//   y[t, r] (+)= sum_k x[t, k] w[r, k] + bias[r]        f32, row-major, t < n_tokens, r < n
// Few tokens: one kernel streams the weight once past tensor cores (stream_matmul.cuh; 4 bits of one to 8 tokens where
// it takes them: int4_matmul.cuh) and moves the weight's bytes and hardly more; 4 bits of 9 to 128 tokens, on compute
// capability 9.0, go by wgmma_matmul.cuh. Many tokens: cuBLASLt, for 4- and 8-bit weight-only forms after they were
// widened to bf16 in pieces that stay in the L2 cache. plan_matmul() says which. Group scales meet the sums in f32
// where weights are streamed with up to 32 tokens; otherwise the codes, and the products are rounded to bf16.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/cuda/ops.h"
#include "tensor/dtype.h"

namespace trimeter::cuda {

// A weight's values, [n, k]. Rows of the plain forms are k elements apart and start 16-byte aligned: k is a multiple of
// 8 (16-bit forms) or 16 (8-bit forms).
enum class WeightForm {
  kF32,
  kF16,
  kBF16,
  kE4M3,
  kI8,        // two's complement
  kE4M3Wide,  // e4m3 and int8 for an input of bf16: in each row's runs of 64, byte 16 q + 8 c + j is k = 32 c + 8 q +
              // j;
  kI8Wide,    //   k is padded to a multiple of 64 with zeros
  kI4,        // tiles of 16 rows and 64 k's (n padded to 16, k to 64), [n / 16][k / 64] of 512 bytes, 16 for each lane:
};  //   lane 4 g + q has rows g and g + 8, for c = 0, 1 each the 8 k's 32 c + 8 q + ...: k pair (2 p, 2 p + 1)
    //   at bits 4 p and 16 + 4 p

enum class ScaleForm {
  kNone,
  kTensor,    // f32 [1]
  kRow,       // f32 [n]
  kBlock128,  // f32 [ceil(n / 128)][ceil(k / 128) rounded up to 4]
  kGroup,     // fp16 or bf16 [k / group][n rounded up to 16]; zero points: [k / group][n rounded up to 16, / 2] bytes,
};            //   the even row in the lower nibble

struct DeviceMatrix {
  WeightForm form = WeightForm::kBF16;
  ScaleForm scale_form = ScaleForm::kNone;
  int64_t n = 0, k = 0;
  const void* values = nullptr;
  const void* scales = nullptr;
  // kE4M3 with kTensor or kRow: the same scales laid out as kBlock128's; null: there are none, as where rows of a block
  // differ in theirs.
  const float* block_scales = nullptr;
  const void* zeros = nullptr;      // kI4 with kGroup: w = (code - zero) * scale; null: zero = 8
  DType scale_dtype = DType::kF16;  // of kGroup
  int64_t group = 0;                // of kGroup: 32, 64, 128, or k
};

// Of kGroup: 2^shift runs of 32 k's share a scale; 31: all do.
int group_shift(const DeviceMatrix& w);

// Which input goes with which weight: floats with their own type; kE4M3 with the e4m3 forms (kE4M3Group128 with
// kBlock128); kI8 with the int8 forms; kBF16 with kE4M3Wide, kI8Wide and kI4.
enum class MatmulKernel { kInt4, kStream, kWgmma, kLt, kWidenLt };
// On the current card.
MatmulKernel plan_matmul(const DeviceMatrix& w, int64_t n_tokens);

// Whether a product of this input's one token takes it raw: of up to kMostRawInputs inputs, a multiple of 16, in their
// own order; not e4m3 by block, f32, or 4 bits that int4_matmul.h does not take.
bool takes_raw(const DeviceMatrix& w, const DeviceInput& x);

// Whether cuBLASLt, where plan_matmul() names it, has an algorithm for this many tokens on this card, which is for its
// heuristic to say. Where it has none, matmul() streams e4m3, kGpuFp8StreamTokens at a time, and throws for other
// forms.
bool has_algorithm(const DeviceMatrix& w, int64_t n_tokens);

// A kE4M3 that has block_scales goes to cuBLASLt by block where gpu_fp8_by_block() says so and the input's scales are
// there for it: DeviceInput::scale_rows as many as this says, or kE4M3Static. Otherwise it goes by row.
int64_t token_scale_rows(const DeviceMatrix& w, int64_t n_tokens);
// Whether cuBLASLt has algorithms by block for all numbers of tokens that gpu_fp8_by_block() names for this shape; of w
// the shape and `scales`, any device pointer. block_scales are to be set only where it has, as a load does.
bool has_block_algorithms(const DeviceMatrix& w);

// The workspace is shared by all products of a stream. Its first kMatmulCounterBytes must be zero before the first
// product; each leaves them zero.
inline constexpr int64_t kMatmulCounterBytes = 64 << 10;
int64_t matmul_workspace_bytes(WeightForm form, int64_t n, int64_t k, int64_t max_tokens);
void matmul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, bool accumulate, float* y, int64_t ldy,
            void* workspace, int64_t workspace_bytes, cudaStream_t stream);

// Of w's first half, the gate, and its second: made = silu(gate) * up, [n_tokens, n / 2], in a form without scales.
bool makes_silu_mul(const DeviceMatrix& w, int64_t n_tokens, const DeviceInput& made);
void matmul_silu_mul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, const DeviceInput& made,
                     void* workspace, int64_t workspace_bytes, cudaStream_t stream);

// Bytes of a form's values, padding included.
int64_t matrix_values_bytes(WeightForm form, int64_t n, int64_t k);
// From one code a byte, [n, k] on the device, to the form's values. kI8 and kI8Wide: codes are two's complement with
// the sign bit flipped (schemes/integer_grid.h). column_order [k] on the device: column j of the result is column
// column_order[j] of codes; null: j. first_row (a multiple of 16) and n_rows: codes holds these rows alone, so that a
// load needs little room.
void pack_codes(WeightForm form, const uint8_t* codes, const int32_t* column_order, int64_t first_row, int64_t n_rows,
                int64_t n, int64_t k, void* values, cudaStream_t stream);
// From f32 scales (and one zero point a byte; null if there are none) [n, n_groups] to kGroup's.
void pack_group_scales(const float* scales, const uint8_t* zeros, int64_t n, int64_t n_groups, DType scale_dtype,
                       void* packed_scales, void* packed_zeros, cudaStream_t stream);

}  // namespace trimeter::cuda
