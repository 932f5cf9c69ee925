// W8A16: codes q of 8 bits with a 16-bit scale s per row or per row and group of 32, 64 or 128 inputs, w = (q - 128) *
// s. The kernel multiplies q - 128, which is exact in bf16.
#pragma once
#include "schemes/kernel_table.h"

TM_SCHEME_KERNELS(int8w)
TM_SCHEME_KERNELS(int8w_g32)
TM_SCHEME_KERNELS(int8w_g64)
TM_SCHEME_KERNELS(int8w_g128)
