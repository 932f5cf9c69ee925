// ggml's blocks: what lies in a GGUF file. f16 is an IEEE half, little-endian; q and the
// scales and minimums of sub-blocks are small integers; d, m (f16) are the block's.
//
//           values  sub  bytes  layout                                            w =
//   q8_0        32   32     34  d, q i8[32]                                       d q
//   q4_0        32   32     18  d, q[16]                                          d (q - 8)
//   q4_1        32   32     20  d, m, q[16]                                       d q + m
//   q5_0        32   32     22  d, fifth bits u32, q[16]                          d (q - 16)
//   q5_1        32   32     24  d, m, fifth bits u32, q[16]                       d q + m
//   q2_K       256   16     84  scale | min << 4 [16], q[64], d, m                d scale q - m min
//   q3_K       256   16    110  third bits[32], q[64], scales 6 bit[12], d        d (scale - 32) (q - 4)
//   q4_K       256   32    144  d, m, scales and mins 6 bit[12], q[128]           d scale q - m min
//   q5_K       256   32    176  d, m, scales and mins, fifth bits[32], q[128]     d scale q - m min
//   q6_K       256   16    210  low bits[128], high bits[64], scale i8[16], d     d scale (q - 32)
//
// Every type decodes to one form, Decoded: w = (d scale_s) q - m min_s, in float with these roundings, which are those
// of ggml's dequantize_row_*. Kernels read the types' numbers here: plain functions, no STL.
#pragma once
#include <stdint.h>
#include <string.h>

#include "tensor/numeric.h"

namespace trimeter::ggml {

template <int kValues, int kSub>
struct Decoded {
  static constexpr int kSubBlocks = kValues / kSub;
  int8_t codes[kValues];       // with what the formula subtracts from q already subtracted
  int32_t scales[kSubBlocks];  // likewise
  int32_t mins[kSubBlocks];    // types without: any, and m is 0
  float d, m;
};

// Scales (and minimums) of sub-blocks: signed bytes, a nibble of each, or six bits of each.
enum class SubScales { kNone, kBytes, kNibbles, kSixBits };

// Codes plus `offset` are unsigned, of low + high bits: the two planes that schemes/ggml/panel.h keeps them in.
template <int low, int high, int offset>
struct Codes {
  static constexpr int kLowBits = low, kHighBits = high, kOffset = offset;
};
template <int Values, int Sub, int Bytes, bool Minimum, SubScales Scales = SubScales::kNone>
struct Block {
  static constexpr int kValues = Values, kSub = Sub, kBytes = Bytes, kSubBlocks = Values / Sub;
  static constexpr bool kHasMinimum = Minimum;
  static constexpr SubScales kSubScales = Scales;
  using Decoded = ggml::Decoded<Values, Sub>;
};
struct Q8_0 : Block<32, 32, 34, false>, Codes<8, 0, 128> {};
struct Q4_0 : Block<32, 32, 18, false>, Codes<4, 0, 8> {};
struct Q4_1 : Block<32, 32, 20, true>, Codes<4, 0, 0> {};
struct Q5_0 : Block<32, 32, 22, false>, Codes<4, 1, 16> {};
struct Q5_1 : Block<32, 32, 24, true>, Codes<4, 1, 0> {};
struct Q2_K : Block<256, 16, 84, true, SubScales::kNibbles>, Codes<2, 0, 0> {};
struct Q3_K : Block<256, 16, 110, false, SubScales::kSixBits>, Codes<2, 1, 4> {};
struct Q4_K : Block<256, 32, 144, true, SubScales::kSixBits>, Codes<4, 0, 0> {};
struct Q5_K : Block<256, 32, 176, true, SubScales::kSixBits>, Codes<4, 1, 0> {};
struct Q6_K : Block<256, 16, 210, false, SubScales::kBytes>, Codes<4, 2, 32> {};

static inline float read_f16(const uint8_t* p) { return f16_to_float(static_cast<uint16_t>(p[0] | p[1] << 8)); }

template <class D>
static inline void one_scale(D& out, float d, float minimum) {
  out.d = d;
  out.m = -minimum;
  out.scales[0] = 1;
  out.mins[0] = 1;
}

// Sixteen bytes at a time: compilers unroll loops of 16 before they would vectorize them.
typedef uint8_t Bytes16 __attribute__((vector_size(16)));
static inline Bytes16 bytes16(uint8_t value) { return Bytes16{} + value; }

// 16 in byte l if bit l of the two bytes is set.
static inline Bytes16 fifth_bits(const uint8_t* bits) {
  typedef uint64_t Words2 __attribute__((vector_size(16)));
  constexpr uint64_t kEachByte = 0x0101010101010101, kItsBit = 0x8040201008040201;
  const Words2 spread = {bits[0] * kEachByte & kItsBit, bits[1] * kEachByte & kItsBit};
  Bytes16 bytes;
  memcpy(&bytes, &spread, 16);
  return (bytes != 0) & bytes16(16);
}
// Value l of the low nibbles, l + 16 of the high ones, each with bits of `low` and `high` set.
static inline void nibbles16(const uint8_t* q, uint8_t less, Bytes16 low, Bytes16 high, int8_t* codes) {
  Bytes16 packed;
  memcpy(&packed, q, 16);
  low = ((packed & bytes16(15)) | low) - less;
  high = ((packed >> 4) | high) - less;
  memcpy(codes, &low, 16);
  memcpy(codes + 16, &high, 16);
}
static inline void five_bits(const uint8_t* fifth, const uint8_t* q, uint8_t less, int8_t* codes) {
  nibbles16(q, less, fifth_bits(fifth), fifth_bits(fifth + 2), codes);
}

static inline void decode(Q8_0, const uint8_t* p, Q8_0::Decoded& out) {
  one_scale(out, read_f16(p), 0);
  memcpy(out.codes, p + 2, 32);
}
static inline void decode(Q4_0, const uint8_t* p, Q4_0::Decoded& out) {
  one_scale(out, read_f16(p), 0);
  nibbles16(p + 2, 8, bytes16(0), bytes16(0), out.codes);
}
static inline void decode(Q4_1, const uint8_t* p, Q4_1::Decoded& out) {
  one_scale(out, read_f16(p), read_f16(p + 2));
  nibbles16(p + 4, 0, bytes16(0), bytes16(0), out.codes);
}
static inline void decode(Q5_0, const uint8_t* p, Q5_0::Decoded& out) {
  one_scale(out, read_f16(p), 0);
  five_bits(p + 2, p + 6, 16, out.codes);
}
static inline void decode(Q5_1, const uint8_t* p, Q5_1::Decoded& out) {
  one_scale(out, read_f16(p), read_f16(p + 2));
  five_bits(p + 4, p + 8, 0, out.codes);
}

// q2_K, q3_K: four values of 2 bits in a byte, 32 values apart; a half block takes 32 bytes.
static inline void decode(Q2_K, const uint8_t* p, Q2_K::Decoded& out) {
  const uint8_t* q = p + 16;
  for (int half = 0; half < 2; ++half)
    for (int j = 0; j < 4; ++j)
      for (int l = 0; l < 32; ++l)
        out.codes[128 * half + 32 * j + l] = static_cast<int8_t>(q[32 * half + l] >> 2 * j & 3);
  for (int s = 0; s < 16; ++s) {
    out.scales[s] = p[s] & 15;
    out.mins[s] = p[s] >> 4;
  }
  out.d = read_f16(p + 80);
  out.m = read_f16(p + 82);
}

// Scale s: its low nibble in byte s % 8, its two high bits in byte 8 + s % 4.
static inline int32_t q3_scale(const uint8_t* scales, int s) {
  const int low = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
  return (low | (scales[8 + s % 4] >> s / 4 * 2 & 3) << 4) - 32;
}
static inline void decode(Q3_K, const uint8_t* p, Q3_K::Decoded& out) {
  const uint8_t* q = p + 32;
  for (int half = 0; half < 2; ++half)
    for (int j = 0; j < 4; ++j)
      for (int l = 0; l < 32; ++l) {
        const int third = p[l] >> (4 * half + j) & 1;
        out.codes[128 * half + 32 * j + l] = static_cast<int8_t>(((q[32 * half + l] >> 2 * j & 3) | third << 2) - 4);
      }
  for (int s = 0; s < 16; ++s) {
    out.scales[s] = q3_scale(p + 96, s);
    out.mins[s] = 0;
  }
  out.d = read_f16(p + 108);
  out.m = 0;
}

// q4_K, q5_K: scales and minimums of 8 sub-blocks. Of the first four: 6 bits of bytes s and 4 + s. Of the last four: a
// nibble each of byte 4 + s, and the two bits that the first ones leave.
static inline void six_bit_pairs(const uint8_t* p, int32_t* scales, int32_t* mins) {
  for (int s = 0; s < 4; ++s) {
    scales[s] = p[s] & 63;
    mins[s] = p[s + 4] & 63;
    scales[s + 4] = (p[s + 8] & 15) | p[s] >> 6 << 4;
    mins[s + 4] = p[s + 8] >> 4 | p[s + 4] >> 6 << 4;
  }
}
static inline void decode(Q4_K, const uint8_t* p, Q4_K::Decoded& out) {
  out.d = read_f16(p);
  out.m = read_f16(p + 2);
  six_bit_pairs(p + 4, out.scales, out.mins);
  for (int quarter = 0; quarter < 4; ++quarter)
    for (int l = 0; l < 32; ++l) {
      const uint8_t q = p[16 + 32 * quarter + l];
      out.codes[64 * quarter + l] = static_cast<int8_t>(q & 15);
      out.codes[64 * quarter + 32 + l] = static_cast<int8_t>(q >> 4);
    }
}
static inline void decode(Q5_K, const uint8_t* p, Q5_K::Decoded& out) {
  out.d = read_f16(p);
  out.m = read_f16(p + 2);
  six_bit_pairs(p + 4, out.scales, out.mins);
  for (int quarter = 0; quarter < 4; ++quarter)
    for (int l = 0; l < 32; ++l) {
      const uint8_t q = p[48 + 32 * quarter + l], fifth = static_cast<uint8_t>(p[16 + l] >> 2 * quarter);
      out.codes[64 * quarter + l] = static_cast<int8_t>((q & 15) | (fifth & 1) << 4);
      out.codes[64 * quarter + 32 + l] = static_cast<int8_t>(q >> 4 | (fifth & 2) << 3);
    }
}
// A half block: 64 bytes of low nibbles (values 0-63 and 64-127) and 32 of pairs of high bits, 32 values apart.
static inline void decode(Q6_K, const uint8_t* p, Q6_K::Decoded& out) {
  for (int half = 0; half < 2; ++half)
    for (int j = 0; j < 4; ++j)
      for (int l = 0; l < 32; ++l) {
        const int low = p[64 * half + 32 * (j & 1) + l] >> (j / 2 * 4) & 15, high = p[128 + 32 * half + l] >> 2 * j & 3;
        out.codes[128 * half + 32 * j + l] = static_cast<int8_t>((low | high << 4) - 32);
      }
  for (int s = 0; s < 16; ++s) {
    out.scales[s] = static_cast<int8_t>(p[192 + s]);
    out.mins[s] = 0;
  }
  out.d = read_f16(p + 208);
  out.m = 0;
}

template <class B>
static inline void dequantize(const typename B::Decoded& block, float* values) {
  for (int k = 0; k < B::kValues; ++k) {
    const int s = k / B::kSub;
    const float scale = block.d * static_cast<float>(block.scales[s]);
    const float product = scale * static_cast<float>(block.codes[k]);
    values[k] = B::kHasMinimum ? product - block.m * static_cast<float>(block.mins[s]) : product;
  }
}

}  // namespace trimeter::ggml
