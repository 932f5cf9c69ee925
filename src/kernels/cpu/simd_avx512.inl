// F32x16 as one AVX-512 register. The functions are described in simd_scalar.inl.
#include <immintrin.h>

namespace trimeter::TM_ISA {

struct F32x16 {
  __m512 v;
};

TM_FN __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : (1 << n) - 1); }

TM_FN F32x16 set1(float x) { return {_mm512_set1_ps(x)}; }
TM_FN F32x16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
TM_FN F32x16 load_n(const float* p, int64_t n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
TM_FN void store(float* p, F32x16 a) { _mm512_storeu_ps(p, a.v); }
TM_FN void store_n(float* p, F32x16 a, int64_t n) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
TM_FN F32x16 add(F32x16 a, F32x16 b) { return {_mm512_add_ps(a.v, b.v)}; }
TM_FN F32x16 sub(F32x16 a, F32x16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
TM_FN F32x16 mul(F32x16 a, F32x16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
TM_FN F32x16 div(F32x16 a, F32x16 b) { return {_mm512_div_ps(a.v, b.v)}; }
TM_FN F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
TM_FN F32x16 max(F32x16 a, F32x16 b) { return {_mm512_max_ps(a.v, b.v)}; }
TM_FN F32x16 min(F32x16 a, F32x16 b) { return {_mm512_min_ps(a.v, b.v)}; }
TM_FN F32x16 abs(F32x16 a) { return {_mm512_abs_ps(a.v)}; }
TM_FN F32x16 round(F32x16 a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
TM_FN F32x16 pow2(F32x16 n) { return {_mm512_scalef_ps(_mm512_set1_ps(1.0f), n.v)}; }
TM_FN F32x16 zero_where_less(F32x16 a, F32x16 x, float limit) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, _mm512_set1_ps(limit), _CMP_NLT_UQ), a.v)};
}
TM_FN F32x16 fill_from(F32x16 a, int64_t n, float fill) {
  return {_mm512_mask_mov_ps(_mm512_set1_ps(fill), first_lanes(n), a.v)};
}

TM_FN F32x16 load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
// The integer form of bf16_from_float: vcvtneps2bf16 would flush subnormals.
TM_FN __m512i bf16_bits_high(F32x16 a) {
  const __m512i bits = _mm512_castps_si512(a.v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  const __mmask16 nan = _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q);
  return _mm512_mask_or_epi32(rounded, nan, bits, _mm512_set1_epi32(0x400000));
}
TM_FN void store_bf16(uint16_t* p, F32x16 a) {
  const __m512i halves = _mm512_srli_epi32(bf16_bits_high(a), 16);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(halves));
}
TM_FN F32x16 round_to_bf16(F32x16 a) {
  const __m512i high = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm512_castsi512_ps(_mm512_and_si512(bf16_bits_high(a), high))};
}

TM_FN F32x16 load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
// With the sign bit apart and its other bits one to the right of the upper byte, a code is an IEEE half of the same
// value times 2^-8, subnormals included. No NaNs.
TM_FN F32x16 load_e4m3(const uint8_t* p) {
  const __m128i codes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m256i upper = _mm256_slli_epi16(_mm256_cvtepu8_epi16(codes), 8);
  const __m256i halves = _mm256_and_si256(_mm256_srai_epi16(upper, 1), _mm256_set1_epi16(static_cast<short>(0xbf80)));
  return {_mm512_mul_ps(_mm512_cvtph_ps(halves), _mm512_set1_ps(256))};
}
TM_FN F32x16 load_i8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
TM_FN __m256i to_f16(F32x16 a) { return _mm512_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
TM_FN void store_f16(uint16_t* p, F32x16 a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_f16(a)); }
TM_FN F32x16 round_to_f16(F32x16 a) { return {_mm512_cvtph_ps(to_f16(a))}; }

// min keeps its second operand where that is NaN. Below 2^-6, e4m3 steps by 2^-9, as a float does at 2^14.
TM_FN F32x16 round_to_e4m3(F32x16 a) {
  const __m512 magnitude = _mm512_min_ps(_mm512_set1_ps(kE4M3Max), _mm512_abs_ps(a.v));
  const __m512i bits = _mm512_castps_si512(magnitude);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 20), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_and_si512(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7ffff))),
                                           _mm512_set1_epi32(static_cast<int>(0xfff00000u)));
  const __m512 step = _mm512_set1_ps(0x1p14f);
  const __m512 subnormal = _mm512_sub_ps(_mm512_add_ps(magnitude, step), step);
  const __mmask16 small = _mm512_cmp_ps_mask(magnitude, _mm512_set1_ps(0x1p-6f), _CMP_LT_OQ);
  const __m512 result = _mm512_mask_mov_ps(_mm512_castsi512_ps(rounded), small, subnormal);
  return {_mm512_or_ps(result, _mm512_and_ps(a.v, _mm512_set1_ps(-0.0f)))};
}

TM_FN float reduce_add(F32x16 a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
TM_FN float reduce_max(F32x16 a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// Typed by its lanes: GCC 12 copies a sum that turns from __m512i into what vpdpbusd adds to and back, in every round
// of a loop, and has no registers left for 24 of them.
struct I32x16 {
  struct Lanes {
    int lanes __attribute__((vector_size(64)));
    Lanes() = default;
    __attribute__((always_inline)) Lanes(__m512i bits) : lanes(reinterpret_cast<decltype(lanes)>(bits)) {}
    __attribute__((always_inline)) operator __m512i() const { return reinterpret_cast<__m512i>(lanes); }
  };
  Lanes v;
};

TM_FN I32x16 load_u32(const char* p) { return {_mm512_loadu_si512(p)}; }
TM_FN I32x16 shift_left(I32x16 a, int n) { return {_mm512_slli_epi32(a.v, static_cast<unsigned>(n))}; }
TM_FN I32x16 shift_right(I32x16 a, int n) { return {_mm512_srli_epi32(a.v, static_cast<unsigned>(n))}; }
TM_FN I32x16 bit_and(I32x16 a, uint32_t mask) {
  return {_mm512_and_si512(a.v, _mm512_set1_epi32(static_cast<int>(mask)))};
}
TM_FN I32x16 bit_or(I32x16 a, I32x16 b) { return {_mm512_or_si512(a.v, b.v)}; }
TM_FN I32x16 load_u8(const char* p) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
TM_FN I32x16 set1_u32(uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
TM_FN I32x16 sub(I32x16 a, I32x16 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
TM_FN I32x16 add_products_i16(I32x16 sum, I32x16 a, uint32_t b) {
#if defined(TM_ISA_avx512_bf16)
  return {_mm512_dpwssd_epi32(sum.v, a.v, _mm512_set1_epi32(static_cast<int>(b)))};
#else
  return {_mm512_add_epi32(sum.v, _mm512_madd_epi16(a.v, _mm512_set1_epi32(static_cast<int>(b))))};
#endif
}
TM_FN void store_i16(int16_t* p, F32x16 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a.v)));
}
TM_FN F32x16 to_float(I32x16 a) { return {_mm512_cvtepi32_ps(a.v)}; }
TM_FN F32x16 as_float(I32x16 a) { return {_mm512_castsi512_ps(a.v)}; }

TM_FN F32x16 nibble_minus_8(I32x16 a) {
  return {_mm512_permutexvar_ps(a.v, _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7))};
}
TM_FN I32x16 load_nibbles(const char* p) {
  int words[2];
  __builtin_memcpy(words, p, sizeof words);
  const __m512i lanes = _mm512_inserti64x4(_mm512_set1_epi32(words[0]), _mm256_set1_epi32(words[1]), 1);
  return {_mm512_srlv_epi32(lanes, _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28))};
}

}  // namespace trimeter::TM_ISA
