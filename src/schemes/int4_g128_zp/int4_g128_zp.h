// W4A16: codes q of 4 bits, one scale s (fp16) and zero point z (4 bits) per row and 128 inputs: w = (q - z) * s.
//
// Packed: a step is 8 k's, one 32-bit word per row; k_2j is nibble j of the lower half, k_2j+1 nibble j of the upper,
// so that one shift brings a pair of k's to the bottom of both halves. Scales, per tile and group: fp16 [rows], then
// zero points [rows/2], the even row in the lower nibble. The kernel multiplies q - 8, which is exact in bf16, and
// settles the zero point per group:
//   sum (q - z) x = sum (q - 8) x - (z - 8) * sum x
#pragma once
#include "schemes/kernel_table.h"

TM_SCHEME_KERNELS(int4_g128_zp)
