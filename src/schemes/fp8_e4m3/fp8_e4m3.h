// W8A8 in e4m3, as vLLM computes it (docs/decisions/0004-fp8-semantics.md):
//   weights      a scale s = amax / 448 per tensor (over all stacked parts), per row, or per block of 128 x 128; codes
//   of
//                w * (1 / s)
//   activations  dynamic, per token: s = max(amax, 1/512) / 448, codes of x / s
//                dynamic, per token and group of 128 (with blocks): s = max(amax, 1e-10) / 448, codes of x / s
//                static, per tensor: s = the weight's input_scale, codes of x * (1 / s)
// each operation rounded to f32, codes to nearest even. There are no fp8 units in a CPU: the codes, which are what
// decides about quality, are exact, and are multiplied in bf16 (in which each of them is exact) or in f32.
//
// Packed: steps of 4 k's; 16 rows are 64 bytes, 16 bytes for 4 rows: r0k0 r0k1 r1k0 r1k1 r2k0 r2k1 r3k0 r3k1, then the
// same rows with k2 and k3. Codes widened to 16 bits are then pairs of k's in lanes of rows, without a shuffle across.
// Scales of rows or blocks are f32, in their order; the one of a tensor, and that of static activations, is no buffer.
#pragma once
#include "schemes/kernel_table.h"

TM_SCHEME_KERNELS(fp8_e4m3)
TM_SCHEME_KERNELS(fp8_e4m3_block128)
