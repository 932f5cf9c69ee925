// One kernel over a block decoder. A row's block is decoded once for up to eight tokens, to unsigned codes (q plus the
// type's offset, so that maddubs and vpdpbusd can take them) whose excess goes out with the sums of the input:
//   sum (q + offset) x - offset sum x
// An output is one chain over blocks in eight lanes, whatever the batch and the range.
#include "kernels/cpu/simd.h"
#include "schemes/ggml/blocks.h"
#include "schemes/ggml/kernels.h"
#include "schemes/tile.h"

namespace trimeter::TM_ISA {
namespace {

constexpr int kMaxTokens = 8;
constexpr int64_t kPassRows = 64;

// What is added to a decoded code to make it unsigned.
constexpr int offset_of(ggml::Q8_0) { return 128; }
constexpr int offset_of(ggml::Q4_0) { return 8; }
constexpr int offset_of(ggml::Q5_0) { return 16; }
constexpr int offset_of(ggml::Q3_K) { return 4; }
constexpr int offset_of(ggml::Q6_K) { return 32; }
template <class B>
constexpr int offset_of(B) {
  return 0;
}

#if defined(TM_ISA_scalar)

struct Lanes {
  float v[8];
};
struct Ints {
  int32_t v[8];
};
TM_FN Lanes no_lanes() { return {}; }
TM_FN Ints no_ints() { return {}; }
TM_FN float sum(Lanes a) { return ((a.v[0] + a.v[4]) + (a.v[2] + a.v[6])) + ((a.v[1] + a.v[5]) + (a.v[3] + a.v[7])); }
TM_FN Lanes add_scaled(Lanes a, Ints b, float scale) {
  for (int i = 0; i < 8; ++i) a.v[i] += static_cast<float>(b.v[i]) * scale;
  return a;
}
TM_FN Lanes subtract_products(Lanes a, const float* b, const float* c) {
  for (int i = 0; i < 8; ++i) a.v[i] -= b[i] * c[i];
  return a;
}
// The dot of 32 values, its first and last 16 times a scale each, into lanes.
template <bool kWide>
TM_FN Ints dot32(Ints a, const uint8_t* codes, const int8_t* x, const int16_t* scales) {
  for (int i = 0; i < 32; ++i) a.v[i / 4] += codes[i] * x[i] * scales[i / 2];
  return a;
}
template <bool kWide>
TM_FN Ints dot32(Ints a, const uint8_t* codes, const int8_t* x) {
  for (int i = 0; i < 32; ++i) a.v[i / 4] += codes[i] * x[i];
  return a;
}

#else

using Lanes = __m256;
using Ints = __m256i;
TM_FN Lanes no_lanes() { return _mm256_setzero_ps(); }
TM_FN Ints no_ints() { return _mm256_setzero_si256(); }
TM_FN float sum(Lanes a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
TM_FN Lanes add_scaled(Lanes a, Ints b, float scale) {
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), _mm256_set1_ps(scale), a);
}
TM_FN Lanes subtract_products(Lanes a, const float* b, const float* c) {
  return _mm256_fnmadd_ps(_mm256_loadu_ps(b), _mm256_loadu_ps(c), a);
}
TM_FN __m256i load32(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
// kWide: two products of 255 * 127 don't fit the 16 bits that maddubs sums them in.
template <bool kWide>
TM_FN Ints dot32(Ints a, const uint8_t* codes, const int8_t* x, const int16_t* scales) {
  static_assert(!kWide, "a type with sub-blocks has codes of six bits at most");
  return _mm256_add_epi32(a, _mm256_madd_epi16(_mm256_maddubs_epi16(load32(codes), load32(x)), load32(scales)));
}
template <bool kWide>
TM_FN Ints dot32(Ints a, const uint8_t* codes, const int8_t* x) {
#if defined(TM_ISA_avx512_bf16)
  return _mm256_dpbusd_epi32(a, load32(codes), load32(x));
#else
  if constexpr (!kWide) {
    const __m256i pairs = _mm256_maddubs_epi16(load32(codes), load32(x));
    return _mm256_add_epi32(a, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  } else {
    for (int half = 0; half < 2; ++half) {
      const auto* c = reinterpret_cast<const __m128i*>(codes) + half;
      const auto* v = reinterpret_cast<const __m128i*>(x) + half;
      a = _mm256_add_epi32(
          a, _mm256_madd_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(c)), _mm256_cvtepi8_epi16(_mm_loadu_si128(v))));
    }
    return a;
  }
#endif
}

#endif

// A block as it is multiplied.
template <class B>
struct Codes {
  alignas(64) uint8_t values[B::kValues];
  alignas(64) int16_t scales[B::kValues / 2];  // of each pair of values
  alignas(64) float excess[B::kSubBlocks];     // what a sub-block's sum of x is multiplied by, and taken off
  float d;
};

template <class B>
TM_FN void load(const uint8_t* block, Codes<B>& out) {
  typename B::Decoded decoded;
  ggml::decode(B{}, block, decoded);
  constexpr int kOffset = offset_of(B{});
  for (int k = 0; k < B::kValues; ++k) out.values[k] = static_cast<uint8_t>(decoded.codes[k] + kOffset);
  for (int s = 0; s < B::kSubBlocks; ++s) {
    float excess = decoded.d * static_cast<float>(decoded.scales[s] * kOffset);
    if (B::kHasMinimum) excess += decoded.m * static_cast<float>(decoded.mins[s]);
    out.excess[s] = excess;
    if constexpr (B::kSubBlocks > 1)
      for (int i = 0; i < B::kSub / 2; ++i) out.scales[s * B::kSub / 2 + i] = static_cast<int16_t>(decoded.scales[s]);
  }
  out.d = decoded.d;
}

struct Place {
  const int8_t* x;             // of the first token
  const float *scales, *sums;  // one per block; one per sub-block, times the block's scale
  int64_t x_stride, scales_stride, sums_stride;
};

template <class B, int T>
TM_FN void multiply_block(const Codes<B>& w, const Place& at, Lanes (&lanes)[T], float (&excess)[T]) {
  constexpr bool kWide = offset_of(B{}) == 128;
  for (int t = 0; t < T; ++t) {
    const int8_t* x = at.x + t * at.x_stride;
    const float* sums = at.sums + t * at.sums_stride;
    Ints ints = no_ints();
    for (int k = 0; k < B::kValues; k += 32) {
      if constexpr (B::kSubBlocks > 1)
        ints = dot32<kWide>(ints, w.values + k, x + k, w.scales + k / 2);
      else
        ints = dot32<kWide>(ints, w.values + k, x + k);
    }
    lanes[t] = add_scaled(lanes[t], ints, w.d * at.scales[t * at.scales_stride]);
    if constexpr (B::kSubBlocks > 1)
      for (int s = 0; s < B::kSubBlocks; s += 8) lanes[t] = subtract_products(lanes[t], w.excess + s, sums + s);
    else
      excess[t] += w.excess[0] * sums[0];
  }
}

template <class B, int T>
__attribute__((noinline)) void multiply_row(const MultiplyArgs& args, int64_t row, int64_t token) {
  const int64_t n_blocks = args.in / B::kValues;
  const auto* w = reinterpret_cast<const uint8_t*>(args.values) + row * n_blocks * B::kBytes;
  Place at;
  at.x_stride = ggml_input_stride(args.in);
  at.scales_stride = n_blocks;
  at.sums_stride = n_blocks * B::kSubBlocks;
  at.x = reinterpret_cast<const int8_t*>(args.x) + token * at.x_stride;
  at.scales = args.row_scales + token * at.scales_stride;
  at.sums = args.group_sums + token * at.sums_stride;

  Lanes lanes[T];
  float excess[T];
  for (int t = 0; t < T; ++t) {
    lanes[t] = no_lanes();
    excess[t] = 0;
  }
  Codes<B> codes;
  for (int64_t b = 0; b < n_blocks; ++b) {
    load<B>(w + b * B::kBytes, codes);
    multiply_block<B, T>(codes, at, lanes, excess);
    at.x += B::kValues;
    at.scales += 1;
    at.sums += B::kSubBlocks;
  }
  for (int t = 0; t < T; ++t) {
    float result = sum(lanes[t]) - excess[t];
    float& y = args.y[(token + t) * args.ldy + row];
    if (args.bias != nullptr) result += args.bias[row];
    if (args.accumulate) result += y;
    y = result;
  }
}

template <class B, int T>
void multiply_tokens(const MultiplyArgs& args, int64_t row, int64_t token, int64_t n_tokens) {
  if constexpr (T > 1) {
    if (n_tokens < T) return multiply_tokens<B, T - 1>(args, row, token, n_tokens);
  }
  multiply_row<B, T>(args, row, token);
}

// Chunks of tokens outside, so that their inputs stay in the cache; rows of one tile inside.
template <class B>
void multiply(const MultiplyArgs& args) {
  for (int64_t tile = args.row_begin; tile < args.row_end; tile += kPassRows) {
    const int64_t end = tile + kPassRows < args.row_end ? tile + kPassRows : args.row_end;
    for (int64_t token = 0; token < args.n_tokens; token += kMaxTokens)
      for (int64_t row = tile; row < end; ++row)
        multiply_tokens<B, kMaxTokens>(args, row, token,
                                       args.n_tokens - token < kMaxTokens ? args.n_tokens - token : kMaxTokens);
  }
}

// Nearest, ties to even, of |x| below 2^22.
TM_FN int8_t nearest(float x) {
  return static_cast<int8_t>(static_cast<int32_t>(bits_from_float(x + 0x1.8p23f)) - 0x4b400000);
}

template <class B>
void prepare(const PrepareArgs& args) {
  const int64_t stride = ggml_input_stride(args.in), n_blocks = args.in / B::kValues;
  for (int64_t t = args.token_begin; t < args.token_end; ++t)
    for (int64_t b = 0; b < n_blocks; ++b) {
      const float* x = args.x + t * args.in + b * B::kValues;
      auto* q = reinterpret_cast<int8_t*>(args.values + t * stride) + b * B::kValues;
      F32x16 largest = set1(0);
      for (int k = 0; k < B::kValues; k += 16) largest = max(largest, abs(load_n(x + k, 16)));
      const float amax = reduce_max(largest);
      const float inverse = amax > 0 ? 127 / amax : 0;
      for (int k = 0; k < B::kValues; ++k) q[k] = nearest(x[k] * inverse);
      float scale = 0;
      if (amax > 0) scale = B::kValues == 32 ? f16_to_float(f16_from_float(amax / 127)) : 1 / inverse;
      args.row_scales[t * n_blocks + b] = scale;
      for (int s = 0; s < B::kSubBlocks; ++s) {
        int32_t sum = 0;
        for (int k = 0; k < B::kSub; ++k) sum += q[s * B::kSub + k];
        args.group_sums[(t * n_blocks + b) * B::kSubBlocks + s] = scale * static_cast<float>(sum);
      }
    }
}

}  // namespace

#define TM_GGML_BLOCK_kQ8_0 ggml::Q8_0
#define TM_GGML_BLOCK_kQ4_0 ggml::Q4_0
#define TM_GGML_BLOCK_kQ4_1 ggml::Q4_1
#define TM_GGML_BLOCK_kQ5_0 ggml::Q5_0
#define TM_GGML_BLOCK_kQ5_1 ggml::Q5_1
#define TM_GGML_BLOCK_kQ2_K ggml::Q2_K
#define TM_GGML_BLOCK_kQ3_K ggml::Q3_K
#define TM_GGML_BLOCK_kQ4_K ggml::Q4_K
#define TM_GGML_BLOCK_kQ5_K ggml::Q5_K
#define TM_GGML_BLOCK_kQ6_K ggml::Q6_K
#define TM_GGML_TABLE(name, type)                                                        \
  constinit const SchemeKernels name##_kernels{"int8", 1, prepare<TM_GGML_BLOCK_##type>, \
                                               multiply<TM_GGML_BLOCK_##type>};
TM_GGML_SCHEMES(TM_GGML_TABLE)

}  // namespace trimeter::TM_ISA
