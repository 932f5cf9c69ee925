// sum += codes . x of four neighbouring k's in each of 16 rows: codes of 8 bits or fewer, unsigned, x in int8 within
// -127 ... 127. vpdpbusd where the ISA has it; elsewhere maddubs, whose sums of two products in 16 bits are exact:
//   codes below 128      2 * 127 * 127 < 2^15; as many vectors as fit are added in 16 bits before they are widened
//   codes of 8 bits      q - 128 instead, as its size times x with its sign: 2 * 128 * 127 < 2^15
#pragma once
#include "kernels/cpu/simd.h"

namespace trimeter::TM_ISA {
namespace {

// Whether codes of 8 bits are multiplied as q - 128: the sum needs no correction then.
#if defined(TM_ISA_avx512_bf16) || defined(TM_ISA_scalar)
constexpr bool kWideCodesAreSigned = false;
#else
constexpr bool kWideCodesAreSigned = true;
#endif

TM_FN uint32_t load_four(const char* x) {
  uint32_t four;
  __builtin_memcpy(&four, x, 4);
  return four;
}

#if defined(TM_ISA_scalar)

template <int kMaxCode, int N>
TM_FN I32x16 dot_codes(I32x16 sum, const I32x16* codes, const char* x) {
  for (int i = 0; i < N; ++i)
    for (int row = 0; row < 16; ++row)
      for (int j = 0; j < 4; ++j) {
        const int code = static_cast<int>(codes[i].v[row] >> 8 * j & 255);
        sum.v[row] += static_cast<uint32_t>(code * static_cast<signed char>(x[4 * i + j]));
      }
  return sum;
}

#elif !defined(TM_ISA_avx512_bf16)

#if defined(TM_ISA_avx2)
TM_FN __m256i size_times_signed(__m256i codes, __m256i x) {
  const __m256i q = _mm256_xor_si256(codes, _mm256_set1_epi8(-128));
  return _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q));
}
template <bool kSigned>
TM_FN I32x16 products(I32x16 codes, uint32_t four) {
  const __m256i x = _mm256_set1_epi32(static_cast<int>(four));
  if constexpr (kSigned) return {size_times_signed(codes.lo, x), size_times_signed(codes.hi, x)};
  return {_mm256_maddubs_epi16(codes.lo, x), _mm256_maddubs_epi16(codes.hi, x)};
}
TM_FN I32x16 add_i16(I32x16 a, I32x16 b) { return {_mm256_add_epi16(a.lo, b.lo), _mm256_add_epi16(a.hi, b.hi)}; }
#else
template <bool kSigned>
TM_FN I32x16 products(I32x16 codes, uint32_t four) {
  const __m512i x = _mm512_set1_epi32(static_cast<int>(four));
  if constexpr (kSigned) {
    const __m512i q = _mm512_xor_si512(codes.v, _mm512_set1_epi8(-128));
    const __m512i signed_x = _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(q), _mm512_setzero_si512(), x);
    return {_mm512_maddubs_epi16(_mm512_abs_epi8(q), signed_x)};
  }
  return {_mm512_maddubs_epi16(codes.v, x)};
}
TM_FN I32x16 add_i16(I32x16 a, I32x16 b) { return {_mm512_add_epi16(a.v, b.v)}; }
#endif

template <int kMaxCode, int N>
TM_FN I32x16 dot_codes(I32x16 sum, const I32x16* codes, const char* x) {
  constexpr bool kSigned = kMaxCode > 127;
  constexpr int kFitting = kSigned ? 1 : 32767 / (2 * 127 * kMaxCode);
  constexpr int kOnes = 0x00010001;
  for (int i = 0; i < N; i += kFitting) {
    I32x16 pairs = products<kSigned>(codes[i], load_four(x + 4 * i));
    for (int j = i + 1; j < i + kFitting && j < N; ++j)
      pairs = add_i16(pairs, products<kSigned>(codes[j], load_four(x + 4 * j)));
    sum = add_products_i16(sum, pairs, kOnes);
  }
  return sum;
}

#endif

// sums[n] += codes . x[n] of N tokens, whose inputs lie kStride bytes apart.
#if defined(TM_ISA_avx512_bf16)

// A token's products depend on each other; one token after the other, those that wait fill the scheduler. (gguf-q4_0 at
// 16 tokens on an Emerald Rapids, two threads: 580 -> 640 Gop/s; gguf-q8_0 525 -> 540.)
constexpr int kTokensTogether = 4;

template <int N, int kStride, int n = 0>
TM_FN void dot_four(I32x16 (&sums)[N], I32x16 codes, const char* x) {
  sums[n].v = _mm512_dpbusd_epi32(sums[n].v, codes.v, _mm512_set1_epi32(static_cast<int>(load_four(x + n * kStride))));
  if constexpr (n + 1 < N) dot_four<N, kStride, n + 1>(sums, codes, x);
}
template <int kMaxCode, int kFours, int N, int kStride, int i = 0>
TM_FN void dot_tokens(I32x16 (&sums)[N], const I32x16* codes, const char* x) {
  dot_four<N, kStride>(sums, codes[i], x + 4 * i);
  if constexpr (i + 1 < kFours) dot_tokens<kMaxCode, kFours, N, kStride, i + 1>(sums, codes, x);
}

#else

constexpr int kTokensTogether = 1;

template <int kMaxCode, int kFours, int N, int kStride>
TM_FN void dot_tokens(I32x16 (&sums)[N], const I32x16* codes, const char* x) {
  for (int n = 0; n < N; ++n) sums[n] = dot_codes<kMaxCode, kFours>(sums[n], codes, x + n * kStride);
}

#endif

}  // namespace
}  // namespace trimeter::TM_ISA
