// The one ledger for bytes and FLOPs: loader, engine, cost model and report all ask here.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "base/memory_breakdown.h"
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

// Embedding and lm_head dtype, KV dtype under a format: the checkpoint's own 16-bit dtype unless the format is itself
// a dtype (bf16, fp16, fp32).
DType dense_dtype(const ModelSpec& model, const Format& format);

KvLayout kv_layout(const ModelSpec& model, const Format& format, int64_t block_size);

// weights_bytes, linear_bytes, scales_bytes, embedding_bytes, norm_bytes.
MemoryBreakdown weight_ledger(const ModelSpec& model, const Format& format);
// Scratch of the largest step (model/forward.h takes exactly this from its arena).
int64_t activation_bytes(const ModelSpec& model, const Format& format, const EngineLimits& limits, Isa isa);
// Rope tables, block tables, sampler state; kv_blocks enters because block bookkeeping grows with it.
int64_t overhead_bytes(const ModelSpec& model, const EngineLimits& limits);
// floor((device_memory * utilization - weights - activation - overhead) / block_bytes); negative if it does not fit.
int64_t kv_blocks(int64_t device_memory_bytes, double utilization, const MemoryBreakdown& memory, int64_t block_bytes);
// Everything of the above in one.
MemoryBreakdown memory_ledger(const ModelSpec& model, const Format& format, const EngineLimits& limits, Isa isa,
                              int64_t device_memory_bytes, double utilization);

// One operation of a step, with what it moves and computes.
struct OpCost {
  std::string name;            // "qkv_proj", "attention", "norm", "lm_head", ...
  int64_t count = 1;           // times per step (layers)
  int64_t weight_bytes = 0;    // per occurrence, read once
  int64_t kv_bytes = 0;        // KV cache read and written
  int64_t activation_bytes = 0;// scratch read and written
  double flops = 0;            // multiply and add counted apart
  // a linear's own: the scheme and the problem; scheme empty otherwise
  std::string scheme;
  MatShape shape;
  int64_t n_tokens = 0;
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
std::vector<OpCost> step_ledger(const ModelSpec& model, const Format& format, const StepShape& step);

}  // namespace trimeter
