#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "schemes/ggml/blocks.h"
#include "schemes/ggml/codec.h"
#include "schemes/ggml/search.h"

namespace trimeter {
namespace {

using namespace ggml;

using Values = std::span<const float>;

// Writes the half that d rounds to; returns its value.
float put_f16(uint8_t* p, float d) {
  const uint16_t half = f16_from_float(d);
  p[0] = static_cast<uint8_t>(half);
  p[1] = static_cast<uint8_t>(half >> 8);
  return f16_to_float(half);
}

float inverse_or_zero(float d) { return d != 0 ? 1.0f / d : 0.0f; }

// Codes of the unrounded scale, as ggml has them: only the stored one is a half.
void quantize_block(Q8_0, Values x, uint8_t* p) {
  float amax = 0;
  for (const float value : x) amax = std::max(amax, std::fabs(value));
  const float d = amax / 127, inverse = inverse_or_zero(d);
  put_f16(p, d);
  for (int k = 0; k < 32; ++k) p[2 + k] = static_cast<uint8_t>(static_cast<int8_t>(std::round(x[k] * inverse)));
}

// The value that is largest in size gets the lowest code.
void symmetric_codes(Values x, int half, uint8_t* p, uint8_t* codes) {
  float largest = 0;
  for (const float value : x)
    if (std::fabs(value) > std::fabs(largest)) largest = value;
  const float d = largest / static_cast<float>(-half), inverse = inverse_or_zero(d);
  put_f16(p, d);
  const float shift = static_cast<float>(half) + 0.5f;
  for (int k = 0; k < 32; ++k) codes[k] = static_cast<uint8_t>(std::min(2 * half - 1, int(x[k] * inverse + shift)));
}

void affine_codes(Values x, int levels, uint8_t* p, uint8_t* codes) {
  const auto low = std::min_element(x.begin(), x.end()), high = std::max_element(x.begin(), x.end());
  const float d = (*high - *low) / static_cast<float>(levels), inverse = inverse_or_zero(d);
  put_f16(p, d);
  put_f16(p + 2, *low);
  for (int k = 0; k < 32; ++k) codes[k] = static_cast<uint8_t>(std::min(levels, int((x[k] - *low) * inverse + 0.5f)));
}

void put_nibbles16(const uint8_t* codes, uint8_t* q) {
  for (int l = 0; l < 16; ++l) q[l] = static_cast<uint8_t>((codes[l] & 15) | (codes[l + 16] & 15) << 4);
}
void put_five_bits(const uint8_t* codes, uint8_t* p) {
  uint32_t fifth = 0;
  for (int k = 0; k < 32; ++k) fifth |= static_cast<uint32_t>(codes[k] >> 4) << k;
  std::memcpy(p, &fifth, 4);
  put_nibbles16(codes, p + 4);
}

void quantize_block(Q4_0, Values x, uint8_t* p) {
  uint8_t codes[32];
  symmetric_codes(x, 8, p, codes);
  put_nibbles16(codes, p + 2);
}
void quantize_block(Q5_0, Values x, uint8_t* p) {
  uint8_t codes[32];
  symmetric_codes(x, 16, p, codes);
  put_five_bits(codes, p + 2);
}
void quantize_block(Q4_1, Values x, uint8_t* p) {
  uint8_t codes[32];
  affine_codes(x, 15, p, codes);
  put_nibbles16(codes, p + 4);
}
void quantize_block(Q5_1, Values x, uint8_t* p) {
  uint8_t codes[32];
  affine_codes(x, 31, p, codes);
  put_five_bits(codes, p + 4);
}

// Codes again, of the scales that were stored. A sub-block whose stored scale is zero keeps those of the search.
template <class Code>
void requantize_affine(Values x, float scale, float minimum, int levels, Code* codes) {
  if (scale == 0) return;
  for (size_t k = 0; k < x.size(); ++k)
    codes[k] = static_cast<Code>(std::clamp(nearest((x[k] + minimum) / scale), 0, levels));
}
void requantize_symmetric(Values x, float scale, int half, int8_t* codes) {
  if (scale == 0) return;
  for (size_t k = 0; k < x.size(); ++k)
    codes[k] = static_cast<int8_t>(std::clamp(nearest(x[k] / scale), -half, half - 1) + half);
}

// The low two bits of 256 codes.
template <class Code>
void put_two_bits(const Code* codes, uint8_t* q) {
  for (int half = 0; half < 2; ++half)
    for (int l = 0; l < 32; ++l) {
      int byte = 0;
      for (int j = 0; j < 4; ++j) byte |= (codes[128 * half + 32 * j + l] & 3) << 2 * j;
      q[32 * half + l] = static_cast<uint8_t>(byte);
    }
}

void quantize_block(Q2_K, Values x, uint8_t* p) {
  constexpr AffineSearch kSearch{.levels = 3, .first = -0.5f, .step = 0.1f, .last = 15, .absolute_error = true};
  uint8_t codes[256];
  AffineFit fits[16];
  float max_scale = 0, max_minimum = 0;
  for (int s = 0; s < 16; ++s) {
    const Values sub = x.subspan(16 * s, 16);
    float weights[16];
    for (int k = 0; k < 16; ++k) weights[k] = std::fabs(sub[k]);
    fits[s] = fit_affine(sub, weights, kSearch, codes + 16 * s);
    max_scale = std::max(max_scale, fits[s].scale);
    max_minimum = std::max(max_minimum, fits[s].minimum);
  }
  const float inverse_scale = max_scale > 0 ? 15.0f / max_scale : 0,
              inverse_min = max_minimum > 0 ? 15.0f / max_minimum : 0;
  const float d = put_f16(p + 80, max_scale > 0 ? max_scale / 15.0f : 0);
  const float m = put_f16(p + 82, max_minimum > 0 ? max_minimum / 15.0f : 0);
  for (int s = 0; s < 16; ++s) {
    const int scale = max_scale > 0 ? nearest(inverse_scale * fits[s].scale) : 0;
    const int minimum = max_minimum > 0 ? nearest(inverse_min * fits[s].minimum) : 0;
    p[s] = static_cast<uint8_t>(scale | minimum << 4);
    requantize_affine(x.subspan(16 * s, 16), d * static_cast<float>(p[s] & 15), m * static_cast<float>(p[s] >> 4), 3,
                      codes + 16 * s);
  }
  put_two_bits(codes, p + 16);
}

void quantize_block(Q3_K, Values x, uint8_t* p) {
  int8_t codes[256];
  float scales[16], largest = 0;
  for (int s = 0; s < 16; ++s) {
    scales[s] = fit_symmetric_by_steps(x.subspan(16 * s, 16), 4, codes + 16 * s);
    if (std::fabs(scales[s]) > std::fabs(largest)) largest = scales[s];
  }
  std::memset(p, 0, Q3_K::kBytes);
  float d = 0;
  if (largest != 0) {
    const float inverse = -32.0f / largest;
    for (int s = 0; s < 16; ++s) {
      const int scale = std::clamp(static_cast<int>(static_cast<int8_t>(nearest(inverse * scales[s]))), -32, 31) + 32;
      p[96 + s % 8] |= static_cast<uint8_t>((scale & 15) << (s < 8 ? 0 : 4));
      p[96 + 8 + s % 4] |= static_cast<uint8_t>(scale >> 4 << s / 4 * 2);
    }
    d = put_f16(p + 108, 1 / inverse);
  }
  for (int s = 0; s < 16; ++s)
    requantize_symmetric(x.subspan(16 * s, 16), d * static_cast<float>(q3_scale(p + 96, s)), 4, codes + 16 * s);
  for (int k = 0; k < 256; ++k) p[k % 32] |= static_cast<uint8_t>(codes[k] >> 2 << k / 32);
  put_two_bits(codes, p + 32);
}

// What q4_K and q5_K share: d, m, and 6-bit scales and minimums into p[0, 16); codes of 8 sub-blocks.
void affine_super_block(Values x, const AffineSearch& search, uint8_t* p, uint8_t* codes) {
  AffineFit fits[8];
  float max_scale = 0, max_minimum = 0;
  for (int s = 0; s < 8; ++s) {
    const Values sub = x.subspan(32 * s, 32);
    float squares = 0, weights[32];
    for (const float value : sub) squares += value * value;
    const float rms = std::sqrt(squares / 32);
    for (int k = 0; k < 32; ++k) weights[k] = rms + std::fabs(sub[k]);
    fits[s] = fit_affine(sub, weights, search, codes + 32 * s);
    max_scale = std::max(max_scale, fits[s].scale);
    max_minimum = std::max(max_minimum, fits[s].minimum);
  }
  const float inverse_scale = max_scale > 0 ? 63.0f / max_scale : 0,
              inverse_min = max_minimum > 0 ? 63.0f / max_minimum : 0;
  uint8_t* packed = p + 4;
  std::memset(packed, 0, 12);
  for (int s = 0; s < 8; ++s) {
    // A scale below zero wraps to a code of its low byte, and is then the largest.
    const int scale = std::min<int>(63, static_cast<uint8_t>(nearest(inverse_scale * fits[s].scale)));
    const int minimum = std::min<int>(63, static_cast<uint8_t>(nearest(inverse_min * fits[s].minimum)));
    if (s < 4) {
      packed[s] = static_cast<uint8_t>(scale);
      packed[s + 4] = static_cast<uint8_t>(minimum);
    } else {
      packed[s + 4] = static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
      packed[s - 4] |= static_cast<uint8_t>(scale >> 4 << 6);
      packed[s] |= static_cast<uint8_t>(minimum >> 4 << 6);
    }
  }
  const float d = put_f16(p, max_scale / 63.0f), m = put_f16(p + 2, max_minimum / 63.0f);
  int32_t scales[8], minimums[8];
  six_bit_pairs(packed, scales, minimums);
  for (int s = 0; s < 8; ++s)
    requantize_affine(x.subspan(32 * s, 32), d * static_cast<float>(scales[s]), m * static_cast<float>(minimums[s]),
                      search.levels, codes + 32 * s);
}

// Low nibbles of 256 codes: 32 of them, and the next 32 in the high halves of the same bytes.
void put_nibbles32(const uint8_t* codes, uint8_t* q) {
  for (int quarter = 0; quarter < 4; ++quarter)
    for (int l = 0; l < 32; ++l) {
      const uint8_t *low = codes + 64 * quarter, *high = low + 32;
      q[32 * quarter + l] = static_cast<uint8_t>((low[l] & 15) | (high[l] & 15) << 4);
    }
}

void quantize_block(Q4_K, Values x, uint8_t* p) {
  uint8_t codes[256];
  affine_super_block(x, {.levels = 15, .first = -1.0f, .step = 0.1f, .last = 20, .absolute_error = false}, p, codes);
  put_nibbles32(codes, p + 16);
}

void quantize_block(Q5_K, Values x, uint8_t* p) {
  uint8_t codes[256];
  affine_super_block(x, {.levels = 31, .first = -0.5f, .step = 0.1f, .last = 15, .absolute_error = false}, p, codes);
  std::memset(p + 16, 0, 32);
  for (int k = 0; k < 256; ++k) p[16 + k % 32] |= static_cast<uint8_t>(codes[k] >> 4 << k / 32);
  put_nibbles32(codes, p + 48);
}

void quantize_block(Q6_K, Values x, uint8_t* p) {
  int8_t codes[256];
  float scales[16], largest = 0;
  for (int s = 0; s < 16; ++s) {
    scales[s] = fit_symmetric(x.subspan(16 * s, 16), 32, codes + 16 * s);
    if (std::fabs(scales[s]) > std::fabs(largest)) largest = scales[s];
  }
  std::memset(p, 0, Q6_K::kBytes);
  if (std::fabs(largest) < 1e-15f) return;
  const float inverse = -128.0f / largest, d = put_f16(p + 208, 1 / inverse);
  for (int s = 0; s < 16; ++s) {
    const auto scale = static_cast<int8_t>(std::min(127, nearest(inverse * scales[s])));
    p[192 + s] = static_cast<uint8_t>(scale);
    requantize_symmetric(x.subspan(16 * s, 16), d * static_cast<float>(scale), 32, codes + 16 * s);
  }
  for (int k = 0; k < 256; ++k) {
    const int half = k / 128, j = k % 128 / 32, l = k % 32;
    p[64 * half + 32 * (j & 1) + l] |= static_cast<uint8_t>((codes[k] & 15) << j / 2 * 4);
    p[128 + 32 * half + l] |= static_cast<uint8_t>(codes[k] >> 4 << 2 * j);
  }
}

template <class B>
void quantize_blocks(const float* values, int64_t n, uint8_t* blocks) {
  for (int64_t begin = 0; begin < n; begin += B::kValues, blocks += B::kBytes)
    quantize_block(B{}, {values + begin, B::kValues}, blocks);
}

template <class Encode>
void encode_halves(const float* values, int64_t n, uint8_t* data, Encode encode) {
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t code = encode(values[i]);
    std::memcpy(data + 2 * i, &code, 2);
  }
}

}  // namespace

void quantize_ggml(GgmlType type, const float* values, int64_t n, uint8_t* blocks) {
  switch (type) {
    case GgmlType::kF32:
      std::memcpy(blocks, values, static_cast<size_t>(4 * n));
      return;
    case GgmlType::kF16:
      return encode_halves(values, n, blocks, f16_from_float);
    case GgmlType::kBF16:
      return encode_halves(values, n, blocks, bf16_from_float);
    case GgmlType::kQ8_0:
      return quantize_blocks<Q8_0>(values, n, blocks);
    case GgmlType::kQ4_0:
      return quantize_blocks<Q4_0>(values, n, blocks);
    case GgmlType::kQ4_1:
      return quantize_blocks<Q4_1>(values, n, blocks);
    case GgmlType::kQ5_0:
      return quantize_blocks<Q5_0>(values, n, blocks);
    case GgmlType::kQ5_1:
      return quantize_blocks<Q5_1>(values, n, blocks);
    case GgmlType::kQ2_K:
      return quantize_blocks<Q2_K>(values, n, blocks);
    case GgmlType::kQ3_K:
      return quantize_blocks<Q3_K>(values, n, blocks);
    case GgmlType::kQ4_K:
      return quantize_blocks<Q4_K>(values, n, blocks);
    case GgmlType::kQ5_K:
      return quantize_blocks<Q5_K>(values, n, blocks);
    case GgmlType::kQ6_K:
      return quantize_blocks<Q6_K>(values, n, blocks);
  }
  TM_CHECK(false, "ggml type {}", static_cast<uint32_t>(type));
}

}  // namespace trimeter
