// F32x16 in plain C++: the reference that the other ISAs are tested against.
namespace trimeter::TM_ISA {

struct F32x16 {
  float v[16];
};

#define TM_LANES(expression)                             \
  F32x16 result;                                         \
  for (int i = 0; i < 16; ++i) result.v[i] = expression; \
  return result

TM_FN F32x16 set1(float x) { TM_LANES(x); }
TM_FN F32x16 load(const float* p) { TM_LANES(p[i]); }
TM_FN F32x16 load_n(const float* p, int64_t n) { TM_LANES(i < n ? p[i] : 0.0f); }
TM_FN void store_n(float* p, F32x16 a, int64_t n) {
  for (int i = 0; i < 16 && i < n; ++i) p[i] = a.v[i];
}
TM_FN void store(float* p, F32x16 a) { store_n(p, a, 16); }
TM_FN F32x16 load_bf16(const uint16_t* p) { TM_LANES(bf16_to_float(p[i])); }
TM_FN F32x16 load_f16(const uint16_t* p) { TM_LANES(f16_to_float(p[i])); }
TM_FN F32x16 load_e4m3(const uint8_t* p) { TM_LANES(e4m3_to_float(p[i])); }
TM_FN F32x16 load_i8(const int8_t* p) { TM_LANES(static_cast<float>(p[i])); }
TM_FN void store_bf16(uint16_t* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = bf16_from_float(a.v[i]);
}
TM_FN void store_f16(uint16_t* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = f16_from_float(a.v[i]);
}
TM_FN F32x16 add(F32x16 a, F32x16 b) { TM_LANES(a.v[i] + b.v[i]); }
TM_FN F32x16 sub(F32x16 a, F32x16 b) { TM_LANES(a.v[i] - b.v[i]); }
TM_FN F32x16 mul(F32x16 a, F32x16 b) { TM_LANES(a.v[i] * b.v[i]); }
TM_FN F32x16 div(F32x16 a, F32x16 b) { TM_LANES(a.v[i] / b.v[i]); }
// a * b + c; rounded twice here, once on the other ISAs.
TM_FN F32x16 fma(F32x16 a, F32x16 b, F32x16 c) { TM_LANES(a.v[i] * b.v[i] + c.v[i]); }
TM_FN F32x16 max(F32x16 a, F32x16 b) { TM_LANES(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
TM_FN F32x16 min(F32x16 a, F32x16 b) { TM_LANES(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
TM_FN F32x16 abs(F32x16 a) { TM_LANES(__builtin_fabsf(a.v[i])); }
// To the nearest integer, |x| < 2^22: adding 1.5 * 2^23 leaves no fraction bits.
TM_FN F32x16 round(F32x16 a) { TM_LANES((a.v[i] + 12582912.0f) - 12582912.0f); }
// 2^n for integers n in [-126, 127]; infinity for 128.
TM_FN F32x16 pow2(F32x16 n) {
  TM_LANES(float_from_bits(static_cast<uint32_t>(static_cast<int32_t>(n.v[i]) + 127) << 23));
}
TM_FN F32x16 zero_where_less(F32x16 a, F32x16 x, float limit) { TM_LANES(x.v[i] < limit ? 0.0f : a.v[i]); }
// Lanes from n on become `fill`.
TM_FN F32x16 fill_from(F32x16 a, int64_t n, float fill) { TM_LANES(i < n ? a.v[i] : fill); }
TM_FN F32x16 round_to_bf16(F32x16 a) { TM_LANES(bf16_to_float(bf16_from_float(a.v[i]))); }
TM_FN F32x16 round_to_f16(F32x16 a) { TM_LANES(f16_to_float(f16_from_float(a.v[i]))); }
TM_FN F32x16 round_to_e4m3(F32x16 a) { TM_LANES(e4m3_to_float(e4m3_from_float(a.v[i]))); }
// Halves are folded until one lane is left: lane i + lane i+8, then i+4, i+2, i+1.
TM_FN float reduce_add(F32x16 a) {
  for (int n = 8; n > 0; n /= 2)
    for (int i = 0; i < n; ++i) a.v[i] += a.v[i + n];
  return a.v[0];
}
TM_FN float reduce_max(F32x16 a) {
  float result = a.v[0];
  for (int i = 1; i < 16; ++i) result = a.v[i] > result ? a.v[i] : result;
  return result;
}
#undef TM_LANES

// Sixteen 32-bit lanes of packed codes.
struct I32x16 {
  uint32_t v[16];
};

#define TM_LANES(Type, expression)                       \
  Type result;                                           \
  for (int i = 0; i < 16; ++i) result.v[i] = expression; \
  return result

TM_FN I32x16 load_u32(const char* p) {
  I32x16 result;
  __builtin_memcpy(result.v, p, sizeof result.v);
  return result;
}
TM_FN I32x16 shift_left(I32x16 a, int n) { TM_LANES(I32x16, a.v[i] << n); }
TM_FN I32x16 shift_right(I32x16 a, int n) { TM_LANES(I32x16, a.v[i] >> n); }
TM_FN I32x16 bit_and(I32x16 a, uint32_t mask) { TM_LANES(I32x16, a.v[i] & mask); }
TM_FN I32x16 bit_or(I32x16 a, I32x16 b) { TM_LANES(I32x16, a.v[i] | b.v[i]); }
TM_FN I32x16 load_u8(const char* p) { TM_LANES(I32x16, static_cast<uint8_t>(p[i])); }
TM_FN I32x16 set1_u32(uint32_t x) { TM_LANES(I32x16, x); }
TM_FN I32x16 sub(I32x16 a, I32x16 b) { TM_LANES(I32x16, a.v[i] - b.v[i]); }
// sum + a b, a and b pairs of int16: two products, exact, then 32 bits that wrap.
TM_FN uint32_t products_i16(uint32_t a, uint32_t b) {
  const int low = static_cast<int16_t>(a) * static_cast<int16_t>(b);
  const int high = static_cast<int16_t>(a >> 16) * static_cast<int16_t>(b >> 16);
  return static_cast<uint32_t>(low) + static_cast<uint32_t>(high);
}
TM_FN I32x16 add_products_i16(I32x16 sum, I32x16 a, uint32_t b) {
  TM_LANES(I32x16, sum.v[i] + products_i16(a.v[i], b));
}
// Integers of 16 bits.
TM_FN void store_i16(int16_t* p, F32x16 a) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int16_t>(a.v[i]);
}
TM_FN F32x16 to_float(I32x16 a) { TM_LANES(F32x16, static_cast<float>(static_cast<int32_t>(a.v[i]))); }
TM_FN F32x16 as_float(I32x16 a) { TM_LANES(F32x16, float_from_bits(a.v[i])); }
#undef TM_LANES

// The lowest four bits q of each lane, as q - 8.
TM_FN F32x16 nibble_minus_8(I32x16 a) { return sub(to_float(bit_and(a, 15)), set1(8)); }
// Sixteen nibbles from eight bytes, lowest first, in the lowest bits of the lanes; the other bits are undefined.
TM_FN I32x16 load_nibbles(const char* p) {
  I32x16 result;
  for (int i = 0; i < 16; ++i) result.v[i] = static_cast<uint8_t>(p[i / 2]) >> (i % 2 * 4);
  return result;
}

}  // namespace trimeter::TM_ISA
