// Sixteen floats at once, one source for every ISA: a register on AVX-512, two on AVX2, a plain array in the scalar
// reference. Included by *_isa.cc files alone. Everything here lives in trimeter::TM_ISA and is inlined; no STL
// (tests/check_symbols.py says why).
#pragma once
#include <stdint.h>

#include "tensor/numeric.h"

// Where a vector is a plain array, inlining all of it makes a debug build with sanitizers take minutes a file.
#if defined(TM_ISA_scalar)
#define TM_FN static inline
#else
#define TM_FN static inline __attribute__((always_inline))
#endif

#if defined(TM_ISA_scalar)
#include "kernels/cpu/simd_scalar.inl"
#elif defined(TM_ISA_avx2)
#include "kernels/cpu/simd_avx2.inl"
#else
#include "kernels/cpu/simd_avx512.inl"
#endif

namespace trimeter::TM_ISA {

// e^x, relative error below 2^-22 for x in [-87.3, 88.3]; 0 below that, infinity from 88.4 on. exp(0) is exactly 1.
// Cody-Waite reduction by ln 2 in two parts, then the polynomial of Cephes' expf.
TM_FN F32x16 exp(F32x16 x) {
  const F32x16 clamped = max(min(x, set1(89.0f)), set1(-87.3f));
  const F32x16 n = round(mul(clamped, set1(1.44269504f)));
  const F32x16 r = fma(n, set1(2.12194440e-4f), fma(n, set1(-0.693359375f), clamped));
  F32x16 p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  p = add(fma(mul(p, r), r, r), set1(1.0f));
  return zero_where_less(mul(p, pow2(n)), x, -87.3f);
}

}  // namespace trimeter::TM_ISA
