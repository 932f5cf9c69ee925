// W4A16: codes q of 4 bits; a scale s of 16 bits and, in some, a zero point z of 4 bits for each row and group of 32,
// 64 or 128 inputs, or for a whole row: w = (q - z) * s, z = 8 where none is stored. With act-order the inputs of a
// group are named by the weight (GPTQ's g_idx).
//
// The kernel multiplies q - 8, which is exact in bf16, and settles scale and zero point once per group:
//   sum (q - z) x = sum (q - 8) x - (z - 8) * sum x
#pragma once
#include "schemes/kernel_table.h"

TM_SCHEME_KERNELS(int4)
TM_SCHEME_KERNELS(int4_zp)
TM_SCHEME_KERNELS(int4_channel)
