// The scalar formulas of the small floats. Every kernel's fast conversion is tested against these, over all codes.
// Used by every ISA's kernels, so: plain functions, no STL (see tests/check_symbols.py).
#pragma once
#include <stdint.h>

namespace trimeter {

static inline constexpr float float_from_bits(uint32_t bits) { return __builtin_bit_cast(float, bits); }
static inline constexpr uint32_t bits_from_float(float x) { return __builtin_bit_cast(uint32_t, x); }

// bfloat16: 1 sign, 8 exponent, 7 mantissa bits; the upper half of a float.
static inline constexpr float bf16_to_float(uint16_t b) { return float_from_bits(static_cast<uint32_t>(b) << 16); }

// Round to nearest, ties to even; NaN stays a (quiet) NaN.
static inline constexpr uint16_t bf16_from_float(float x) {
  const uint32_t bits = bits_from_float(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// IEEE half: 1 sign, 5 exponent, 10 mantissa bits.
static inline constexpr float f16_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
  const uint32_t magnitude = h & 0x7fffu;
  if (magnitude >= 0x7c00u)  // infinity, NaN
    return float_from_bits(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13) | ((magnitude & 0x3ffu) ? 0x400000u : 0u));
  if (magnitude < 0x400u)  // subnormal: an exact multiple of 2^-24
    return float_from_bits(sign | bits_from_float(static_cast<float>(magnitude) * 0x1p-24f));
  return float_from_bits(sign | ((magnitude << 13) + 0x38000000u));
}

// Round to nearest, ties to even; overflow gives infinity.
static inline constexpr uint16_t f16_from_float(float x) {
  const uint32_t bits = bits_from_float(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // 65520 and above
  if (magnitude < 0x38800000u) {  // below 2^-14: let float addition round at 2^-24
    const uint32_t rounded = bits_from_float(float_from_bits(magnitude) + 0.5f) - 0x3f000000u;
    return static_cast<uint16_t>(sign | rounded);
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | (rounded >> 13));
}

// FP8 E4M3 (the "fn" variant of the OCP 8-bit spec): 1 sign, 4 exponent bits with bias 7, 3 mantissa bits; no infinity,
// NaN is S.1111.111, the largest value is 448, the smallest subnormal 2^-9.
inline constexpr float kE4M3Max = 448.0f;

static inline constexpr float e4m3_to_float(uint8_t code) {
  const uint32_t sign = static_cast<uint32_t>(code & 0x80u) << 24;
  const uint32_t magnitude = code & 0x7fu;
  if (magnitude == 0x7fu) return float_from_bits(sign | 0x7fc00000u);
  if (magnitude < 8u) return float_from_bits(sign | bits_from_float(static_cast<float>(magnitude) * 0x1p-9f));
  return float_from_bits(sign | ((magnitude << 20) + 0x3c000000u));
}

// Round to nearest, ties to even, saturating at +-448 as quantizers do (infinity too); NaN gives NaN.
static inline constexpr uint8_t e4m3_from_float(float x) {
  const uint32_t bits = bits_from_float(x);
  const uint32_t sign = (bits >> 24) & 0x80u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint8_t>(sign | 0x7fu);
  if (magnitude >= 0x43e00000u) return static_cast<uint8_t>(sign | 0x7eu);  // 448 and above
  if (magnitude < 0x3c800000u) {  // below 2^-6: subnormal, rounds at 2^-9 in a float whose ulp is 2^-9
    const uint32_t rounded = bits_from_float(float_from_bits(magnitude) + 0x1p14f) - 0x46800000u;
    return static_cast<uint8_t>(sign | rounded);
  }
  const uint32_t rounded = (magnitude - 0x3c000000u + 0x7ffffu + ((magnitude >> 20) & 1u)) >> 20;
  return static_cast<uint8_t>(sign | (rounded > 0x7eu ? 0x7eu : rounded));
}

}  // namespace trimeter
