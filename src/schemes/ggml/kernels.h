// The family's kernels, in plain types.
#pragma once
#include "schemes/kernel_table.h"

namespace trimeter {

// From one token's prepared input to the next: whole cache lines, an odd number of them, so that the tokens of a batch
// don't fall into one set of the cache.
static inline constexpr int64_t ggml_input_stride(int64_t in) { return (round_up(in, 64) / 64 | 1) * 64; }

}  // namespace trimeter

// X(scheme, GgmlType)
#define TM_GGML_SCHEMES(X) \
  X(ggml_q8_0, kQ8_0)      \
  X(ggml_q4_0, kQ4_0)      \
  X(ggml_q4_1, kQ4_1)      \
  X(ggml_q5_0, kQ5_0)      \
  X(ggml_q5_1, kQ5_1)      \
  X(ggml_q2_k, kQ2_K)      \
  X(ggml_q3_k, kQ3_K)      \
  X(ggml_q4_k, kQ4_K)      \
  X(ggml_q5_k, kQ5_K)      \
  X(ggml_q6_k, kQ6_K)

#define TM_GGML_KERNELS(name, type) TM_SCHEME_KERNELS(name)
TM_GGML_SCHEMES(TM_GGML_KERNELS)
#undef TM_GGML_KERNELS
