// W8A8: codes q of 8 bits with one f32 scale s per row, w = (q - 128) * s; activations in int8, as vLLM's
// scaled_int8_quant computes them (csrc/quantization/w8a8/int8/scaled_quant.cu), rounded to nearest even and clamped to
// -128 ... 127:
//   dynamic, per token    scale = amax / 127, codes of x * (127 / amax)
//   static, per tensor    scale = the weight's input_scale, codes of x / scale
// y = scale * (s * sum (q - 128) x), the sum in integers: the same bits on every ISA.
//
// The kernels multiply q itself, which is unsigned as vpdpbusd wants it, and take 128 * sum x off at the end; so
// nothing lies in memory that isn't in a file. (One whose scales have 16 bits is smaller by 2 bytes a row: they are
// widened.) Integers wrap at 32 bits on the way and are right in the end, since 128 * 128 * in < 2^31.
#pragma once
#include "schemes/kernel_table.h"

TM_SCHEME_KERNELS(int8)
