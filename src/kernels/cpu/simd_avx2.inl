// F32x16 as two AVX2 registers. The functions are described in simd_scalar.inl.
#include <immintrin.h>

namespace trimeter::TM_ISA {

struct F32x16 {
  __m256 lo, hi;
};

TM_FN F32x16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
TM_FN F32x16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
TM_FN void store(float* p, F32x16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
TM_FN F32x16 load_n(const float* p, int64_t n) {
  if (n >= 16) return load(p);
  float lanes[16] = {};
  for (int i = 0; i < n; ++i) lanes[i] = p[i];
  return load(lanes);
}
TM_FN void store_n(float* p, F32x16 a, int64_t n) {
  if (n >= 16) return store(p, a);
  float lanes[16];
  store(lanes, a);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}
TM_FN F32x16 add(F32x16 a, F32x16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
TM_FN F32x16 sub(F32x16 a, F32x16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
TM_FN F32x16 mul(F32x16 a, F32x16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
TM_FN F32x16 div(F32x16 a, F32x16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
TM_FN F32x16 fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
TM_FN F32x16 max(F32x16 a, F32x16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
TM_FN F32x16 min(F32x16 a, F32x16 b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
TM_FN F32x16 abs(F32x16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
TM_FN F32x16 round(F32x16 a) {
  return {_mm256_round_ps(a.lo, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(a.hi, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
TM_FN __m256 pow2(__m256 n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
TM_FN F32x16 pow2(F32x16 n) { return {pow2(n.lo), pow2(n.hi)}; }
TM_FN F32x16 zero_where_less(F32x16 a, F32x16 x, float limit) {
  const __m256 bound = _mm256_set1_ps(limit);
  return {_mm256_and_ps(a.lo, _mm256_cmp_ps(x.lo, bound, _CMP_NLT_UQ)),
          _mm256_and_ps(a.hi, _mm256_cmp_ps(x.hi, bound, _CMP_NLT_UQ))};
}
TM_FN F32x16 fill_from(F32x16 a, int64_t n, float fill) {
  const __m256i first = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i count = _mm256_set1_epi32(static_cast<int>(n));
  const __m256 lo = _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, first));
  const __m256 hi = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_sub_epi32(count, _mm256_set1_epi32(8)), first));
  const __m256 other = _mm256_set1_ps(fill);
  return {_mm256_blendv_ps(other, a.lo, lo), _mm256_blendv_ps(other, a.hi, hi)};
}

TM_FN __m256 load_bf16x8(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
TM_FN F32x16 load_bf16(const uint16_t* p) { return {load_bf16x8(p), load_bf16x8(p + 8)}; }
TM_FN __m256i bf16_bits_high(__m256 a) {
  const __m256i bits = _mm256_castps_si256(a);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256 nan = _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
  return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan));
}
TM_FN void store_bf16(uint16_t* p, F32x16 a) {
  const __m256i packed =
      _mm256_packus_epi32(_mm256_srli_epi32(bf16_bits_high(a.lo), 16), _mm256_srli_epi32(bf16_bits_high(a.hi), 16));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
TM_FN F32x16 round_to_bf16(F32x16 a) {
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(bf16_bits_high(a.lo), high)),
          _mm256_castsi256_ps(_mm256_and_si256(bf16_bits_high(a.hi), high))};
}

TM_FN __m256 load_f16x8(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
TM_FN F32x16 load_f16(const uint16_t* p) { return {load_f16x8(p), load_f16x8(p + 8)}; }
// With the sign bit apart and its other bits one to the right of the upper byte, a code is an IEEE half of the same
// value times 2^-8, subnormals included. No NaNs.
TM_FN __m256 load_e4m3x8(const uint8_t* p) {
  const __m128i upper = _mm_slli_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))), 8);
  const __m128i halves = _mm_and_si128(_mm_srai_epi16(upper, 1), _mm_set1_epi16(static_cast<short>(0xbf80)));
  return _mm256_mul_ps(_mm256_cvtph_ps(halves), _mm256_set1_ps(256));
}
TM_FN F32x16 load_e4m3(const uint8_t* p) { return {load_e4m3x8(p), load_e4m3x8(p + 8)}; }
TM_FN __m256 load_i8x8(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
TM_FN F32x16 load_i8(const int8_t* p) { return {load_i8x8(p), load_i8x8(p + 8)}; }
TM_FN __m128i to_f16(__m256 a) { return _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
TM_FN void store_f16(uint16_t* p, F32x16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_f16(a.lo));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), to_f16(a.hi));
}
TM_FN F32x16 round_to_f16(F32x16 a) { return {_mm256_cvtph_ps(to_f16(a.lo)), _mm256_cvtph_ps(to_f16(a.hi))}; }

// min keeps its second operand where that is NaN. Below 2^-6, e4m3 steps by 2^-9, as a float does at 2^14.
TM_FN __m256 round_to_e4m3(__m256 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  const __m256 magnitude = _mm256_min_ps(_mm256_set1_ps(kE4M3Max), _mm256_andnot_ps(sign, a));
  const __m256i bits = _mm256_castps_si256(magnitude);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 20), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_and_si256(_mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7ffff))),
                                           _mm256_set1_epi32(static_cast<int>(0xfff00000u)));
  const __m256 step = _mm256_set1_ps(0x1p14f);
  const __m256 subnormal = _mm256_sub_ps(_mm256_add_ps(magnitude, step), step);
  const __m256 small = _mm256_cmp_ps(magnitude, _mm256_set1_ps(0x1p-6f), _CMP_LT_OQ);
  return _mm256_or_ps(_mm256_blendv_ps(_mm256_castsi256_ps(rounded), subnormal, small), _mm256_and_ps(a, sign));
}
TM_FN F32x16 round_to_e4m3(F32x16 a) { return {round_to_e4m3(a.lo), round_to_e4m3(a.hi)}; }

TM_FN float reduce_add(F32x16 a) {
  const __m256 eight = _mm256_add_ps(a.lo, a.hi);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
TM_FN float reduce_max(F32x16 a) {
  const __m256 eight = _mm256_max_ps(a.lo, a.hi);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

struct I32x16 {
  __m256i lo, hi;
};

TM_FN I32x16 load_u32(const char* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32))};
}
TM_FN I32x16 shift_left(I32x16 a, int n) { return {_mm256_slli_epi32(a.lo, n), _mm256_slli_epi32(a.hi, n)}; }
TM_FN I32x16 shift_right(I32x16 a, int n) { return {_mm256_srli_epi32(a.lo, n), _mm256_srli_epi32(a.hi, n)}; }
TM_FN I32x16 bit_and(I32x16 a, uint32_t mask) {
  const __m256i wide = _mm256_set1_epi32(static_cast<int>(mask));
  return {_mm256_and_si256(a.lo, wide), _mm256_and_si256(a.hi, wide)};
}
TM_FN I32x16 bit_or(I32x16 a, I32x16 b) { return {_mm256_or_si256(a.lo, b.lo), _mm256_or_si256(a.hi, b.hi)}; }
TM_FN I32x16 load_u8(const char* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepu8_epi32(bytes), _mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))};
}
TM_FN I32x16 set1_u32(uint32_t x) {
  const __m256i wide = _mm256_set1_epi32(static_cast<int>(x));
  return {wide, wide};
}
TM_FN I32x16 sub(I32x16 a, I32x16 b) { return {_mm256_sub_epi32(a.lo, b.lo), _mm256_sub_epi32(a.hi, b.hi)}; }
TM_FN I32x16 add_products_i16(I32x16 sum, I32x16 a, uint32_t b) {
  const __m256i wide = _mm256_set1_epi32(static_cast<int>(b));
  return {_mm256_add_epi32(sum.lo, _mm256_madd_epi16(a.lo, wide)),
          _mm256_add_epi32(sum.hi, _mm256_madd_epi16(a.hi, wide))};
}
TM_FN void store_i16(int16_t* p, F32x16 a) {
  const __m256i packed = _mm256_packs_epi32(_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xd8));
}
TM_FN F32x16 to_float(I32x16 a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
TM_FN F32x16 as_float(I32x16 a) { return {_mm256_castsi256_ps(a.lo), _mm256_castsi256_ps(a.hi)}; }

TM_FN F32x16 nibble_minus_8(I32x16 a) { return sub(to_float(bit_and(a, 15)), set1(8)); }
TM_FN I32x16 load_nibbles(const char* p) {
  int words[2];
  __builtin_memcpy(words, p, sizeof words);
  const __m256i shifts = _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28);
  return {_mm256_srlv_epi32(_mm256_set1_epi32(words[0]), shifts),
          _mm256_srlv_epi32(_mm256_set1_epi32(words[1]), shifts)};
}

}  // namespace trimeter::TM_ISA
