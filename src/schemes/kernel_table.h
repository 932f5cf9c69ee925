// What each ISA's kernel of a scheme provides, in plain types.
#pragma once
#include <stdint.h>

#include "base/cpu.h"
#include "schemes/tile.h"

namespace trimeter {

struct PrepareArgs {
  const float* x;  // [n_tokens, in]
  int64_t in, n_tokens, token_begin, token_end;
  int64_t n_groups = 1;                  // of in / n_groups inputs
  float input_scale = 0;                 // schemes with a static one; else 0
  const int32_t* input_order = nullptr;  // [in]: prepared input k is x[input_order[k]]; nullptr: x[k]
  char* values;                          // schemes/tile.h; padded with zeros to a multiple of 16 elements
  float* row_scales;                     // [n_tokens] or [n_tokens, n_groups] or nullptr
  float* group_sums;                     // [n_tokens, n_groups] or nullptr
};

struct MultiplyArgs {
  const char* values;  // packed weight
  const char* scales;  // group_bytes for every scale_rows rows and group
  int64_t scale_rows = kPanelRows, group_bytes = 0;
  bool bf16_scales = false;  // 16-bit scales are bf16, else fp16
  int64_t out, in;
  int64_t n_groups = 1;  // of in / n_groups inputs; 1: the whole row
  float tensor_scale;
  const char* x;  // prepared input
  const float* row_scales;
  const float* group_sums;
  int64_t n_tokens, row_begin, row_end;
  const float* bias;
  bool accumulate;
  float* y;
  int64_t ldy;
};

struct SchemeKernels {
  const char* executed;     // the arithmetic of multiply
  int64_t x_element_bytes;  // of the prepared input: 1 (int8), 2 (bf16, int16) or 4 (f32)
  void (*prepare)(const PrepareArgs& args);
  void (*multiply)(const MultiplyArgs& args);
};

}  // namespace trimeter

// Declares trimeter::<isa>::<scheme>_kernels for every ISA and a table of them in Isa's order.
#define TM_SCHEME_KERNELS(scheme)                                                                                     \
  namespace trimeter {                                                                                                \
  namespace scalar {                                                                                                  \
  extern const SchemeKernels scheme##_kernels;                                                                        \
  }                                                                                                                   \
  namespace avx2 {                                                                                                    \
  extern const SchemeKernels scheme##_kernels;                                                                        \
  }                                                                                                                   \
  namespace avx512 {                                                                                                  \
  extern const SchemeKernels scheme##_kernels;                                                                        \
  }                                                                                                                   \
  namespace avx512_bf16 {                                                                                             \
  extern const SchemeKernels scheme##_kernels;                                                                        \
  }                                                                                                                   \
  inline constexpr const SchemeKernels* scheme##_kernel_table[] = {                                                   \
      &scalar::scheme##_kernels, &avx2::scheme##_kernels, &avx512::scheme##_kernels, &avx512_bf16::scheme##_kernels}; \
  }
