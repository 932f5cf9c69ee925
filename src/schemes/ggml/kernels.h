// The family's kernels, in plain types.
#pragma once
#include "schemes/kernel_table.h"

// X(scheme, GgmlType, block)
#define TM_GGML_SCHEMES(X)  \
  X(ggml_q8_0, kQ8_0, Q8_0) \
  X(ggml_q4_0, kQ4_0, Q4_0) \
  X(ggml_q4_1, kQ4_1, Q4_1) \
  X(ggml_q5_0, kQ5_0, Q5_0) \
  X(ggml_q5_1, kQ5_1, Q5_1) \
  X(ggml_q2_k, kQ2_K, Q2_K) \
  X(ggml_q3_k, kQ3_K, Q3_K) \
  X(ggml_q4_k, kQ4_K, Q4_K) \
  X(ggml_q5_k, kQ5_K, Q5_K) \
  X(ggml_q6_k, kQ6_K, Q6_K)

#define TM_GGML_KERNELS(name, type, block) TM_SCHEME_KERNELS(name)
TM_GGML_SCHEMES(TM_GGML_KERNELS)
#undef TM_GGML_KERNELS
