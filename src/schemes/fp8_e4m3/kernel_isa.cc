#include "schemes/bf16_dot.inl"
#include "schemes/fp8_e4m3/fp8_e4m3.h"

namespace trimeter::TM_ISA {
namespace {

#if defined(TM_ISA_avx512_bf16)

// One byte of the bf16 of each e4m3 magnitude.
struct ByteTable {
  alignas(64) uint8_t bytes[128] = {};
  constexpr explicit ByteTable(int shift) {
    for (int code = 0; code < 128; ++code)
      bytes[code] = static_cast<uint8_t>(bf16_from_float(e4m3_to_float(static_cast<uint8_t>(code))) >> shift);
  }
  __m512i half(int i) const { return _mm512_load_si512(bytes + 64 * i); }
};
constexpr ByteTable kLow(0), kHigh(8);
constexpr float kDecodedScale = 1.0f;

struct Codes {
  __m512i low, high;  // bytes of the bf16s, in the order of the codes
};
TM_FN Codes load_codes(const char* p) {
  const __m512i codes = _mm512_loadu_si512(p);  // vpermi2b ignores the sign bit
  const __m512i low = _mm512_permutex2var_epi8(kLow.half(0), codes, kLow.half(1));
  const __m512i high = _mm512_permutex2var_epi8(kHigh.half(0), codes, kHigh.half(1));
  constexpr int kOrAnd = 0xf8;  // high | (codes & 0x80)
  return {low, _mm512_ternarylogic_epi32(high, codes, _mm512_set1_epi8(static_cast<char>(0x80)), kOrAnd)};
}
template <int J>
TM_FN PairWeights pair(Codes raw) {
  return {J == 0 ? _mm512_unpacklo_epi8(raw.low, raw.high) : _mm512_unpackhi_epi8(raw.low, raw.high)};
}

#elif defined(TM_ISA_scalar)

constexpr float kDecodedScale = 1.0f;

struct Codes {
  const uint8_t* codes;
};
TM_FN Codes load_codes(const char* p) { return {reinterpret_cast<const uint8_t*>(p)}; }
template <int J>
TM_FN PairWeights pair(Codes raw) {
  PairWeights pair;
  for (int row = 0; row < 16; ++row) {
    const uint8_t* codes = raw.codes + row / 4 * 16 + J * 8 + row % 4 * 2;
    pair.first.v[row] = e4m3_to_float(codes[0]);
    pair.second.v[row] = e4m3_to_float(codes[1]);
  }
  return pair;
}

#else

// With the sign bit apart and its other bits one to the right of the upper byte, a code is an IEEE half of the same
// value times 2^-8, subnormals included: both have a hidden bit and biases 7 and 15.
constexpr float kDecodedScale = 256.0f;

#if defined(TM_ISA_avx2)
struct Codes {
  __m256i pairs[2];  // lanes of 16 bits, a row each: codes of k and k + 1
};
TM_FN Codes load_codes(const char* p) {
  const I32x16 codes = load_u32(p);
  return {{_mm256_permute4x64_epi64(_mm256_unpacklo_epi64(codes.lo, codes.hi), 0xd8),
           _mm256_permute4x64_epi64(_mm256_unpackhi_epi64(codes.lo, codes.hi), 0xd8)}};
}
TM_FN F32x16 widen(__m256i halves) {
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(halves)), _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1))};
}
#else
struct Codes {
  __m256i pairs[2];
};
TM_FN Codes load_codes(const char* p) {
  const __m512i order = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
  const __m512i pairs = _mm512_permutexvar_epi64(order, _mm512_loadu_si512(p));
  return {{_mm512_castsi512_si256(pairs), _mm512_extracti64x4_epi64(pairs, 1)}};
}
TM_FN F32x16 widen(__m256i halves) { return {_mm512_cvtph_ps(halves)}; }
#endif

TM_FN F32x16 decode_upper_bytes(__m256i codes) {
  const __m256i mask = _mm256_set1_epi16(static_cast<short>(0xbf80));
  return widen(_mm256_and_si256(_mm256_srai_epi16(codes, 1), mask));
}
template <int J>
TM_FN PairWeights pair(Codes raw) {
  return {decode_upper_bytes(_mm256_slli_epi16(raw.pairs[J], 8)), decode_upper_bytes(raw.pairs[J])};
}

#endif

struct Decoder : LookUpDecoder {
  static constexpr int kStep = 4, kParts = 2, kPartX = kPairInputs, kLineBytes = 64;
  static constexpr int64_t kXElementBytes = kBf16InputBytes;
  using X = PairInput;
  using Raw = Codes;
  using Part = PairWeights;
  TM_FN Raw load(const char* p) { return load_codes(p); }
  template <int J>
  TM_FN Part part(Raw raw) {
    return pair<J>(raw);
  }
  TM_FN F32x16 dot(F32x16 sum, Part w, const X* x) { return dot_pair(sum, w, x); }
  TM_FN F32x16 finish(F32x16 sum, const MultiplyArgs& args, int64_t row, int64_t token) {
    const F32x16 scale = args.group_bytes == 0
                             ? set1(args.tensor_scale)
                             : TM_ISA::load(reinterpret_cast<const float*>(group_scales(args, row, 0)));
    return mul(sum, mul(scale, set1(args.row_scales[token] * kDecodedScale)));
  }
};

// A panel lies in one row of blocks.
struct Blocks : Decoder {
  static constexpr bool kGrouped = true;
  static constexpr const float* MultiplyArgs::*kGroupInput = &MultiplyArgs::row_scales;
  using Group = float;
  TM_FN Group load_group(const MultiplyArgs& args, int64_t row, int64_t group) {
    return *reinterpret_cast<const float*>(group_scales(args, row, group));
  }
  TM_FN F32x16 close_group(Group scale, float scale_x, F32x16 sum, F32x16 total) {
    return fma(set1(scale * scale_x * kDecodedScale), sum, total);
  }
  TM_FN F32x16 finish(F32x16 total, const MultiplyArgs&, int64_t, int64_t) { return total; }
};

TM_FN void store_input(TokenPlace place, int64_t k, F32x16 x) {
  char* p = place.byte(kBf16InputBytes * k);
#if defined(TM_ISA_avx512_bf16)
  store_bf16(reinterpret_cast<uint16_t*>(p), x);
#else
  store(reinterpret_cast<float*>(p), x);
#endif
}

// Each group of a token with a scale of its own, unless it is a static one.
TM_FN void quantize_groups(const PrepareArgs& args, float least_amax) {
  const int64_t group_size = args.in / args.n_groups;
  for (int64_t t = args.token_begin; t < args.token_end; ++t)
    for (int64_t g = 0; g < args.n_groups; ++g) {
      const int64_t begin = g * group_size, end = begin + group_size;
      const TokenPlace row = place_token<Decoder>(args, t);
      float scale = args.input_scale;
      if (scale > 0) {
        const F32x16 inverse = set1(1 / scale);
        for (int64_t k = begin; k < end; k += 16)
          store_input(row, k, round_to_e4m3(mul(load_input(args, t, k), inverse)));
      } else {
        F32x16 largest = set1(0);
        for (int64_t k = begin; k < end; k += 16) largest = max(largest, abs(load_input(args, t, k)));
        const float amax = reduce_max(largest);
        scale = (amax > least_amax ? amax : least_amax) / kE4M3Max;
        for (int64_t k = begin; k < end; k += 16)
          store_input(row, k, round_to_e4m3(div(load_input(args, t, k), set1(scale))));
      }
      args.row_scales[t * args.n_groups + g] = scale;
    }
}

void prepare(const PrepareArgs& args) { quantize_groups(args, 1.0f / 512); }
void prepare_blocks(const PrepareArgs& args) { quantize_groups(args, 1e-10f); }

}  // namespace

constinit const SchemeKernels fp8_e4m3_kernels{kBf16Arithmetic, kBf16InputBytes, prepare, multiply<Decoder>};
constinit const SchemeKernels fp8_e4m3_block128_kernels{kBf16Arithmetic, kBf16InputBytes, prepare_blocks,
                                                        multiply<Blocks>};

}  // namespace trimeter::TM_ISA
