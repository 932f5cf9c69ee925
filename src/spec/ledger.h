// The one ledger for bytes and FLOPs: loader, engine, cost model and report all ask here.
#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/memory_breakdown.h"
#include "base/target.h"
#include "kernels/kv_layout.h"
#include "spec/format.h"
#include "spec/model_spec.h"

namespace trimeter {

// What bounds a step; vLLM's names.
struct EngineLimits {
  int32_t max_model_len = 0;
  int32_t max_num_seqs = 0;
  int32_t max_num_batched_tokens = 0;
  int32_t block_size = 16;
};

// Embedding, lm_head and KV cache under a format: the format's own dtype if it is one (bf16, fp16, fp32), otherwise the
// checkpoint's if that has 16 bits, otherwise bf16.
DType dense_dtype(const ModelSpec& model, const Format& format);
const Scheme& dense_scheme(DType dtype);
// The scheme of one linear: what format.scheme_of_module says; otherwise the format's for the decoder layers, the dense
// dtype's for lm_head.
const Scheme& linear_scheme(const ModelSpec& model, const Format& format, const LinearSpec& linear);
// Names of the schemes of all its linears.
std::set<std::string> schemes_of(const ModelSpec& model, const Format& format);
// Throws Error(kUnsupported), naming format, tensor and reason, if a scheme cannot hold one of the model's matrices, or
// the target has no kernel of it.
void check_format_fits(const ModelSpec& model, const Format& format, Target target = Isa::kScalar);

KvLayout kv_layout(const ModelSpec& model, const Format& format, int64_t block_size);

// weights_bytes, linear_bytes, scales_bytes, embedding_bytes, norm_bytes. Norms and biases are held in fp32. An untied
// embedding counts in the dense dtype, a tied one is lm_head's packed matrix.
MemoryBreakdown weight_ledger(const ModelSpec& model, const Format& format);

// Forward computes a step in pieces of at most kPieceRows rows, each through all layers, so that scratch stays small
// and in cache; only the residual stream is kept for every row of the step. Weights are read once per piece.
inline constexpr int64_t kPieceRows = 256;
int64_t piece_rows(Target target);  // on a card a step is one piece

// What Forward takes from its arena beside the prepared inputs, in elements.
struct ForwardScratch {
  int64_t piece_rows = 0;  // min(kPieceRows, max_num_batched_tokens)
  int64_t logit_rows = 0;  // a call of logits() in pieces of this: min(piece_rows, max_num_seqs)
  int64_t residual = 0;    // f32 [max_num_batched_tokens, hidden]
  int64_t input = 0;       // f32 [piece_rows, widest input of a linear]: normed rows, attention output, silu_mul output
  int64_t projection = 0;  // f32 [piece_rows, widest output of a layer's linear]: q, k, v; gate, up
  int64_t logits = 0;      // f32 [max_num_seqs, vocab]
};
ForwardScratch forward_scratch(const ModelSpec& model, const EngineLimits& limits);

// What a card's forward() takes, in bytes, for n = max_num_batched_tokens and s = max_num_seqs. A step is one piece.
struct GpuScratch {
  int64_t residual = 0;    // f32 [n, hidden]
  int64_t attention = 0;   // f32 [n, n_heads * head_dim]
  int64_t projection = 0;  // f32 [n, widest output of a layer's linear]
  int64_t values = 0;      // [n, widest input of a linear], in the form that it multiplies
  int64_t scales = 0;      // of the values, in schemes with quantized activations
  int64_t logits = 0;      // f32 [s, vocab]
  int64_t workspace = 0;   // of attention's partial results and of products, one at a time
  int64_t inputs = 0;  // int32: token, position and sequence of each row; first row, logit row, token of each sequence
  int64_t draws = 0;   // gpu_draw_bytes()
  int64_t total() const {
    return residual + attention + projection + values + scales + logits + workspace + inputs + draws;
  }
};
GpuScratch gpu_scratch(const ModelSpec& model, const Format& format, const EngineLimits& limits,
                       int compute_capability);

// A card's decoding steps are graphs, recorded for these numbers of rows: few enough to record at start, close enough
// that padding is at most a third from 8 rows on. Steps of more rows are none.
inline constexpr int64_t kGpuGraphRows[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512};
// Those of an engine of max_num_seqs: the smaller ones, and one of as many rows as it may have, up to the last.
std::vector<int64_t> gpu_graph_sizes(int64_t max_num_seqs);
// What a step of n_rows sequences is padded to; none where it is no graph.
std::optional<int64_t> gpu_graph_rows(int64_t n_rows, int64_t max_num_seqs);

// Scratch of the largest step. On a CPU: forward_scratch() and the largest of the linears' prepared inputs.
int64_t activation_bytes(const ModelSpec& model, const Format& format, const EngineLimits& limits, Target target);

// cos and sin, f32 [max_model_len][head_dim / 2] each.
int64_t rope_table_bytes(const ModelSpec& model, const EngineLimits& limits);
// int32 [max_num_seqs][ceil(max_model_len / block_size)].
int64_t block_table_bytes(const EngineLimits& limits);
// One row at a time: (f32, int32) [vocab].
int64_t sampler_bytes(const ModelSpec& model);
// The three of them; on a card the first two, what is left of sampling there being the host's. A card's context and
// graphs come on top.
int64_t overhead_bytes(const ModelSpec& model, const EngineLimits& limits, Target target = Isa::kScalar);

// floor((device_memory * utilization - weights - activation - overhead) / block_bytes); negative if it does not fit.
int64_t kv_blocks(int64_t device_memory_bytes, double utilization, const MemoryBreakdown& memory, int64_t block_bytes);
// Everything of the above in one; kv_bytes is 0 if it does not fit. runtime_bytes: a card's context and graphs, part of
// the overhead.
MemoryBreakdown memory_ledger(const ModelSpec& model, const Format& format, const EngineLimits& limits, Target target,
                              int64_t device_memory_bytes, double utilization, int64_t runtime_bytes = 0);

// One operation of a step, with what it moves and computes. Linears carry their own preparation of inputs; the others
// are "embed", "rms_norm", "rope", "kv_write", "attention", "silu_mul".
struct OpCost {
  std::string name;              // "qkv_proj", "attention", "rms_norm", "lm_head", ...
  int64_t count = 1;             // times per step
  int64_t weight_bytes = 0;      // per occurrence, read once
  int64_t kv_bytes = 0;          // KV cache read and written
  int64_t activation_bytes = 0;  // scratch read and written, f32
  double flops = 0;              // multiply and add counted apart
  // a linear's own: the scheme and the problem; scheme empty otherwise
  std::string scheme;
  MatShape shape;
  int64_t n_tokens = 0;  // rows of the occurrence
};

// A step as the scheduler would issue it: new tokens and context of every sequence.
struct StepShape {
  struct Seq {
    int64_t n_new = 1;      // tokens computed in this step
    int64_t n_context = 0;  // tokens in the cache before it
  };
  std::vector<Seq> seqs;
  int64_t n_logit_rows = 0;  // rows that go through lm_head
};
// A step of more than piece_rows(target) rows has two entries of each linear: the whole pieces and the rest. Each new
// token reads the keys and values of all tokens up to itself: a KV head's are read once for its whole group of query
// heads.
std::vector<OpCost> step_ledger(const ModelSpec& model, const Format& format, const StepShape& step,
                                Target target = Isa::kScalar);

}  // namespace trimeter
