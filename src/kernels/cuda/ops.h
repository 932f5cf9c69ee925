// Operations on a card that name no scheme: kernels/ops.h's, with what a linear multiplies rounded or quantized by the
// one that produces it. All are put into a stream and come back at once, allocate nothing, and launch grids that depend
// on host arguments alone, so that a graph can hold them. x, gate_up, qkv and outputs are f32.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/draw_rule.h"
#include "kernels/kv_layout.h"
#include "tensor/dtype.h"

namespace trimeter::cuda {

// How a linear's input is rounded or quantized: the formulas of the CPU's prepare().
enum class InputForm {
  kF32,
  kF16,
  kBF16,
  kE4M3Token,     // per token: scale = amax / 448, code = e4m3(x / scale)
  kE4M3Static,    // scale = static_scale
  kE4M3Group128,  // per token and 128 inputs: scale = max(amax, 1e-10) / 448
  kI8Token,       // per token: scale = amax / 127
  kI8Static,
};

// Whether a form's scales are made of the whole token or are given, so that only codes are left of the values.
constexpr bool has_scales(InputForm form) {
  return form != InputForm::kF32 && form != InputForm::kF16 && form != InputForm::kBF16;
}

// One token as it is, f32 [in], which a product that takes it (matmul.h: takes_raw) brings into the form itself.
struct RawInput {
  const float* x = nullptr;      // null: the input is prepared
  const int32_t* row = nullptr;  // x[*row] of [.., in]; null: x[0]
  const float* gain = nullptr;   // its norm times gain; null: x
  float eps = 0;
};
inline constexpr int64_t kMostRawInputs = 8192;

struct DeviceInput {
  InputForm form = InputForm::kF32;
  int64_t n_tokens = 0, in = 0;
  void* values = nullptr;                // [n_tokens, in], row-major, of the form's type
  float* scales = nullptr;               // [n_tokens] (Token), [in / 128, n_tokens] (Group128), else unused
  float static_scale = 0;                // of the static forms
  int64_t scale_rows = 1;                // of kE4M3Token: scales are [scale_rows, n_tokens], all rows the same
  const int32_t* input_order = nullptr;  // [in]: prepared input k is x[input_order[k]]; null: x[k]
  RawInput raw{};                        // if it has one, values and scales are not read
};
int64_t input_values_bytes(InputForm form, int64_t n_tokens, int64_t in);
// Whatever scale_rows matmul.h's token_scale_rows() says for up to n_tokens.
int64_t input_scales_bytes(InputForm form, int64_t n_tokens, int64_t in);

// Where silu(gate) * up goes, of products that make it themselves.
struct SiluMul {
  void* to = nullptr;  // null: the products are what is wanted
  bool f16 = false;    // else bf16
};

// Norm of x[rows[i]] (rows null: x[i]), [n_tokens, in], times gain.
void rms_norm_prepare(const float* x, const int32_t* rows, const float* gain, double eps, const DeviceInput& out,
                      cudaStream_t stream);
// silu(gate) * up; gate_up: [n_tokens, 2 * in], gate first.
void silu_mul_prepare(const float* gate_up, const DeviceInput& out, cudaStream_t stream);
void prepare(const float* x, const DeviceInput& out, cudaStream_t stream);

// x[i] = table[tokens[i]]; table: [vocab, hidden] of bf16, fp16 or fp32.
void embed(const void* table, DType dtype, const int32_t* tokens, int64_t n, int64_t hidden, float* x,
           cudaStream_t stream);

// The rows of a step on the device. A row of position -1 is padding: it reads and writes no cache, its output is 0.
struct StepView {
  int64_t n_rows = 0, n_seqs = 0;
  const int32_t* positions = nullptr;     // [n_rows]
  const int32_t* seq_of_row = nullptr;    // [n_rows]: row of block_tables
  const int32_t* row_begin = nullptr;     // [n_seqs + 1]: rows of a sequence are consecutive
  const int32_t* block_tables = nullptr;  // [n_seqs][table_stride]
  int64_t table_stride = 0;
  int64_t max_rows_per_seq = 1;  // 1: row i is all of sequence i, a step of decoding
  int64_t max_context = 0;       // no row's position + 1 is larger, and no table is shorter
  bool any_of_one_row = true;    // false: no sequence has one row alone
};

// Rotates q and k in place and writes k and v to the cache. qkv: [n_rows][(n_heads + 2 * kv_heads) * head_dim].
void rope_kv_write(float* qkv, int64_t n_heads, const float* cos, const float* sin, const StepView& step,
                   const KvView& kv, int64_t layer, KvScale scale, cudaStream_t stream);
// Where splits of a context meet. counters: the first kGpuMatmulCounterBytes of matmul()'s workspace or others that are
// 0, and left so. partials: gpu_attention_workspace_bytes() of kernels/gpu_scratch.h.
struct AttentionRoom {
  unsigned* counters = nullptr;
  void* partials = nullptr;
};
// out: [n_rows][n_heads * head_dim]. 16- and 8-bit caches with heads of 64 or 128 channels: split over the context for
// sequences of one row, in tiles of rows for others, on tensor cores. Any other cache: in f32, without tensor cores.
void attention(const float* qkv, int64_t n_heads, const StepView& step, const KvView& kv, int64_t layer, KvScale scale,
               float* out, const AttentionRoom& room, cudaStream_t stream);
// rope_kv_write(), attention() and prepare() of its output. A step of decoding has one kernel for all three, or two
// where `prepared` has scales (f32 may be `out` itself), which may begin before the one that makes qkv ends: what the
// cache holds of earlier tokens, and the step itself, must have been there when that one began. `qkv` and `out` may be
// left as they were.
void rope_attention_prepare(float* qkv, int64_t n_heads, const float* cos, const float* sin, const StepView& step,
                            const KvView& kv, int64_t layer, KvScale scale, float* out, const AttentionRoom& room,
                            const DeviceInput& prepared, cudaStream_t stream);

// The largest of each row, the lowest token among equals; -1 where a logit is not finite.
void argmax(const float* logits, int64_t n_rows, int64_t vocab, int32_t* tokens, cudaStream_t stream);
// tokens[rows[i].row] as rows[i] says, of logits [.., vocab]; -1 where a logit, as it is or penalised, is not finite.
// seen: bits of draw_seen_words(vocab) words a row.
void draw(const float* logits, int64_t vocab, const DrawRow* rows, int64_t n_rows, const uint32_t* seen,
          int32_t* tokens, cudaStream_t stream);
// out: [n_rows][kMostDrawLogprobs + 1]: of tokens[rows[i].row], then of the rows[i].n most likely, the lowest token
// first among equals. A row with a logit that is not finite is left as it is.
void draw_logprobs(const float* logits, int64_t vocab, const LogprobRow* rows, int64_t n_rows, const int32_t* tokens,
                   DrawLogprob* out, cudaStream_t stream);

}  // namespace trimeter::cuda
