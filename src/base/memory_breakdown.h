// The words of the memory meter (DESIGN.md, "The memory ledger"): predicted and measured are told in the same ones.
#pragma once
#include <cstdint>

namespace trimeter {

struct MemoryBreakdown {
  int64_t weights_bytes = 0;     // all weights: linear + embedding + norm
  int64_t linear_bytes = 0;      // decoder linears, with scales and zero points
  int64_t scales_bytes = 0;      // of linear_bytes: scales and zero points
  int64_t embedding_bytes = 0;   // embedding and lm_head (once if tied)
  int64_t norm_bytes = 0;        // norms and biases, as held in memory (fp32)
  int64_t activation_bytes = 0;  // peak scratch of the largest step
  int64_t overhead_bytes = 0;    // rope tables, block tables, sampler
  int64_t kv_bytes = 0;          // the pool: blocks * block_bytes
  bool operator==(const MemoryBreakdown&) const = default;
};

}  // namespace trimeter
