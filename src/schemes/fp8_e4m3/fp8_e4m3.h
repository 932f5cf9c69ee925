// W8A8 in e4m3, as vLLM's online fp8 computes it (docs/decisions/0004-fp8-semantics.md):
//   weights      one scale per tensor, s = amax / 448 over all stacked parts; codes of w * (1 / s)
//   activations  one scale per token, found at run time, s = max(amax, 1/512) / 448; codes of x / s
// each operation rounded to f32, codes to nearest even. There are no fp8 units in a CPU: the codes, which are what
// decides about quality, are exact, and are multiplied in bf16 (in which each of them is exact) or in f32.
//
// Packed: steps of 4 k's; 16 rows are 64 bytes, 16 bytes for 4 rows: r0k0 r0k1 r1k0 r1k1 r2k0 r2k1 r3k0 r3k1, then the
// same rows with k2 and k3. Codes widened to 16 bits are then pairs of k's in lanes of rows, without a shuffle across.
#pragma once
#include "schemes/kernel_table.h"

TM_SCHEME_KERNELS(fp8_e4m3)
