// One decoder over schemes/ggml/panel.h. A block's codes are decoded once for a chunk's tokens; a sub-block's sum runs
// in integers, and is closed with the 16 rows' scales:
//   block_t = sum over sub-blocks of  d scale_s (q . x)_s - m min_s (sum x)_s          total_t += d_x block_t
// Codes are unsigned; (q . x)_s begins with what their offset adds, -offset (sum x)_s.
#include "schemes/ggml/dot.inl"
#include "schemes/ggml/kernels.h"
#include "schemes/ggml/panel.h"
#include "schemes/multiply.inl"

namespace trimeter::TM_ISA {
namespace {

using ggml::kUnit, ggml::kUnitFours, ggml::kLine, ggml::kRows, ggml::SubScales;

template <class B>
struct Traits : B {
  using Panel = ggml::PanelBlock<B>;
  static constexpr int kMaxCode = (1 << (B::kLowBits + B::kHighBits)) - 1;
  static constexpr int kOffset = kMaxCode > 127 && kWideCodesAreSigned ? 0 : B::kOffset;
  static constexpr int kUnitSubBlocks = B::kSub < kUnit ? kUnit / B::kSub : 1;
};

// Inputs of a chunk of tokens at one block; a group's scales and sums of all its tokens lie side by side.
struct Inputs {
  const char* x;
  const float *scales, *sums;
};

TM_FN const uint16_t* halves(const char* p) { return reinterpret_cast<const uint16_t*>(p); }

// Four k's of a plane of kBits whose first line is at p, in the bits from `to` on of each byte.
template <int kBits, int kFour>
TM_FN I32x16 plane_bits(const char* p, int to) {
  constexpr int kBegin = kFour * kBits % 8;
  I32x16 bits = load_u32(p + kFour * kBits / 8 * kLine);
  if constexpr (kBits == 8) return bits;
  if (to < kBegin) bits = shift_right(bits, kBegin - to);
  if (to > kBegin) bits = shift_left(bits, to - kBegin);
  return bit_and(bits, 0x01010101u * (((1u << kBits) - 1) << to));
}

template <class B, int kFour>
TM_FN void decode_unit(const char* p, I32x16 (&codes)[kUnitFours]) {
  codes[kFour] = plane_bits<B::kLowBits, kFour>(p + B::kHighBits * kLine, 0);
  if constexpr (B::kHighBits > 0) codes[kFour] = bit_or(codes[kFour], plane_bits<B::kHighBits, kFour>(p, B::kLowBits));
  if constexpr (kFour + 1 < kUnitFours) decode_unit<B, kFour + 1>(p, codes);
}

template <class B, int T>
TM_FN void load_unit(const char* p, I32x16 (&codes)[kUnitFours]) {
  if constexpr (T >= kPrefetchFrom)
    for (int i = 0; i < Traits<B>::Panel::kUnitBytes; i += kLine) __builtin_prefetch(p + i + kPrefetchBytes);
  decode_unit<B, 0>(p, codes);
}

// Of 16 rows, for each sub-block: d scale_s, and -m min_s.
template <class B>
struct Scales {
  F32x16 scales[B::kSubBlocks], minimums[B::kSubBlocks];
};

template <class B>
TM_FN I32x16 six_bits(const char* p, int i) {
  const I32x16 low = bit_and(shift_right(load_u32(p + i / 8 * kLine), i % 8 * 4), 15);
  return bit_or(low, shift_left(bit_and(shift_right(load_u32(p + 2 * kLine), 2 * i), 3), 4));
}

template <class B>
TM_FN void load_scales(const char* block, Scales<B>& out) {
  using Panel = ggml::PanelBlock<B>;
  const char* p = block + Panel::kScales;
  const F32x16 d = load_f16(halves(block));
  F32x16 m = set1(0);
  if constexpr (B::kHasMinimum) m = sub(m, load_f16(halves(block + Panel::kMinimums)));
  for (int s = 0; s < B::kSubBlocks; ++s) {
    if constexpr (B::kSubScales == SubScales::kNone) {
      out.scales[s] = d;
      out.minimums[s] = m;
    } else if constexpr (B::kSubScales == SubScales::kSixBits) {
      const F32x16 scale = to_float(six_bits<B>(p, s));
      out.scales[s] = mul(d, B::kHasMinimum ? scale : sub(scale, set1(ggml::scale_offset<B>())));
      if constexpr (B::kHasMinimum) out.minimums[s] = mul(m, to_float(six_bits<B>(p, B::kSubBlocks + s)));
    } else if constexpr (B::kHasMinimum) {
      const I32x16 bytes = load_u8(p + s * kRows);
      out.scales[s] = mul(d, to_float(bit_and(bytes, 15)));
      out.minimums[s] = mul(m, to_float(shift_right(bytes, 4)));
    } else {
      out.scales[s] = mul(d, load_i8(reinterpret_cast<const int8_t*>(p + s * kRows)));
    }
  }
}

// sum += sub-blocks of one unit, of one token. `sums`: that token's, of the unit's first sub-block.
template <class B, int T>
TM_FN F32x16 add_unit(F32x16 sum, const I32x16 (&codes)[kUnitFours], const F32x16* scales, const F32x16* minimums,
                      const char* x, const float* sums) {
  using Type = Traits<B>;
  constexpr int kFours = kUnitFours / Type::kUnitSubBlocks;
  for (int s = 0; s < Type::kUnitSubBlocks; ++s) {
    I32x16 ints = set1_u32(0);
    if constexpr (Type::kOffset != 0) ints = set1_u32(load_four(reinterpret_cast<const char*>(sums + s * T)));
    ints = dot_codes<Type::kMaxCode, kFours>(ints, codes + s * kFours, x + 4 * kFours * s);
    sum = fma(scales[s], to_float(ints), sum);
    if constexpr (B::kHasMinimum) sum = fma(minimums[s], set1(sums[s * T]), sum);
  }
  return sum;
}

template <class B, int T, int t = 0>
TM_FN void add_units(F32x16 (&sums)[T], const I32x16 (&codes)[kUnitFours], const F32x16* scales, const F32x16* minimums,
                     const char* x, const float* x_sums) {
  sums[t] = add_unit<B, T>(sums[t], codes, scales, minimums, x + kUnit * t, x_sums + t);
  if constexpr (t + 1 < T) add_units<B, T, t + 1>(sums, codes, scales, minimums, x, x_sums);
}

template <class B, int T>
TM_FN void multiply_block(const char* block, const Inputs& in, F32x16 (&totals)[T]) {
  using Type = Traits<B>;
  Scales<B> scales;
  load_scales<B>(block, scales);
  F32x16 sums[T];
  for (int t = 0; t < T; ++t) sums[t] = set1(0);
  const char* p = block + Type::Panel::kCodes;
  const char* x = in.x;
  const float* x_sums = in.sums;
  I32x16 codes[kUnitFours];
  if constexpr (B::kValues == kUnit) {
    load_unit<B, T>(p, codes);
    add_units<B, T>(sums, codes, scales.scales, scales.minimums, x, x_sums);
  } else {
#pragma GCC unroll 1
    for (int s = 0; s < B::kSubBlocks; s += Type::kUnitSubBlocks) {
      load_unit<B, T>(p, codes);
      add_units<B, T>(sums, codes, scales.scales + s, scales.minimums + s, x, x_sums);
      p += Type::Panel::kUnitBytes;
      x += kUnit * T;
      x_sums += Type::kUnitSubBlocks * T;
    }
  }
  for (int t = 0; t < T; ++t) totals[t] = fma(set1(in.scales[t]), sums[t], totals[t]);
}

template <class B, int R, int T, int r = 0>
TM_FN void multiply_panel_blocks(Cursor<R>& at, const Inputs& in, F32x16 (&totals)[R][T]) {
  multiply_block<B, T>(at.w[r], in, totals[r]);
  at.w[r] += ggml::PanelBlock<B>::kBytes;
  if constexpr (r + 1 < R) multiply_panel_blocks<B, R, T, r + 1>(at, in, totals);
}

template <class B>
struct Decoder : PlainDecoder {
  static constexpr bool kBlocks = true;
  static constexpr int kStep = B::kValues, kLineBytes = ggml::PanelBlock<B>::kBytes;
  static constexpr int64_t kXElementBytes = 1;
  template <int R, int T>
  TM_FN void multiply_blocks(const MultiplyArgs& args, int64_t token, Cursor<R>& at, F32x16 (&totals)[R][T]) {
    const int64_t first_group = token * args.n_groups;
    Inputs in{at.x, args.row_scales + first_group, args.group_sums + first_group * B::kSubBlocks};
    for (int64_t g = 0; g < args.n_groups; ++g) {
      multiply_panel_blocks<B, R, T>(at, in, totals);
      in.x += B::kValues * T;
      in.scales += T;
      in.sums += B::kSubBlocks * T;
    }
  }
};

// Nearest, ties to even, of |x| below 2^22.
TM_FN int8_t nearest(float x) {
  return static_cast<int8_t>(static_cast<int32_t>(bits_from_float(x + 0x1.8p23f)) - 0x4b400000);
}

// Returns d_x.
template <class B>
TM_FN float quantize_block(const float* x, int8_t* q) {
  F32x16 largest = set1(0);
  for (int k = 0; k < B::kValues; k += 16) largest = max(largest, abs(load(x + k)));
  const float amax = reduce_max(largest);
  const float inverse = amax > 0 ? 127 / amax : 0;
  for (int k = 0; k < B::kValues; ++k) q[k] = nearest(x[k] * inverse);
  if (!(amax > 0)) return 0;
  return B::kValues == 32 ? f16_to_float(f16_from_float(amax / 127)) : 1 / inverse;
}

// Lines are of kUnit inputs here. A chunk's scales are [blocks][tokens of the chunk], its sums [sub-blocks][tokens]:
// floats where there are minimums to multiply, elsewhere the bits of the int32 that a sub-block's sum begins with.
template <class B>
void prepare(const PrepareArgs& args) {
  using Type = Traits<B>;
  for (int64_t t = args.token_begin; t < args.token_end; ++t) {
    const int64_t chunk = t / kChunkTokens * kChunkTokens, left = args.n_tokens - chunk, token = t - chunk;
    const int64_t width = left < kChunkTokens ? left : kChunkTokens;
    char* lines = args.values + chunk * input_bytes(args.in, 1) + token * kUnit;
    float* scales = args.row_scales + chunk * args.n_groups + token;
    float* sums = args.group_sums + chunk * args.n_groups * B::kSubBlocks + token;
    for (int64_t b = 0; b < args.n_groups; ++b) {
      int8_t q[B::kValues];
      scales[b * width] = quantize_block<B>(args.x + t * args.in + b * B::kValues, q);
      for (int k = 0; k < B::kValues; k += kUnit, lines += width * kUnit) __builtin_memcpy(lines, q + k, kUnit);
      for (int s = 0; s < B::kSubBlocks; ++s, sums += width) {
        int32_t sum = 0;
        for (int k = 0; k < B::kSub; ++k) sum += q[s * B::kSub + k];
        *sums = B::kHasMinimum ? static_cast<float>(sum) : float_from_bits(static_cast<uint32_t>(-Type::kOffset * sum));
      }
    }
  }
}

}  // namespace

#define TM_GGML_TABLE(name, type, block) \
  constinit const SchemeKernels name##_kernels{"int8", 1, prepare<ggml::block>, multiply<Decoder<ggml::block>>};
TM_GGML_SCHEMES(TM_GGML_TABLE)

}  // namespace trimeter::TM_ISA
