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

template <class B>
TM_FN void load_unit(const char* p, I32x16 (&codes)[kUnitFours]) {
  for (int i = 0; i < Traits<B>::Panel::kUnitBytes; i += kLine) __builtin_prefetch(p + i + kPrefetchBytes);
  decode_unit<B, 0>(p, codes);
}

// A block's scales, of 16 rows.
template <class B>
struct Scales {
  F32x16 scales[B::kSubBlocks];  // d times the sub-block's
  // K types with minimums: theirs in halves of 16 bits, of two sub-blocks as the input's sums have them.
  I32x16 minimums[B::kSubBlocks / 2 + 1];
  F32x16 minus_m;
};

TM_FN I32x16 line_of(const char* p, int line) { return load_u32(p + line * kLine); }

// Lines of bytes: a byte for each of four sub-blocks.
template <class B>
TM_FN void scale_bytes(F32x16 d, I32x16 bytes, F32x16* scales) {
  for (int j = 0; j < 4; ++j) {
    const F32x16 scale = to_float(bit_and(shift_right(bytes, 8 * j), 255));
    scales[j] = mul(d, B::kHasMinimum ? scale : sub(scale, set1(ggml::scale_offset<B>())));
  }
}
TM_FN void minimum_bytes(I32x16 bytes, I32x16* minimums) {
  for (int j = 0; j < 2; ++j) minimums[j] = bit_and(shift_right(bytes, 8 * j), 0x00ff00ff);
}

template <class B>
TM_FN void load_scales(const char* block, Scales<B>& out) {
  using Panel = ggml::PanelBlock<B>;
  const char* p = block + Panel::kScales;
  const F32x16 d = load_f16(halves(block));
  if constexpr (B::kHasMinimum) out.minus_m = sub(set1(0), load_f16(halves(block + Panel::kMinimums)));
  if constexpr (B::kSubScales == SubScales::kNone) {
    out.scales[0] = d;
  } else if constexpr (B::kSubScales == SubScales::kBytes) {
    for (int s = 0; s < B::kSubBlocks; ++s)
      out.scales[s] = mul(d, load_i8(reinterpret_cast<const int8_t*>(p + s * kRows)));
  } else if constexpr (B::kSubScales == SubScales::kNibbles) {
    for (int l = 0; l < B::kSubBlocks / 4; ++l) {
      const I32x16 line = line_of(p, l);
      scale_bytes<B>(d, bit_and(line, 0x0f0f0f0f), out.scales + 4 * l);
      minimum_bytes(bit_and(shift_right(line, 4), 0x0f0f0f0f), out.minimums + 2 * l);
    }
  } else {
    I32x16 values[4];  // 4 i + j in byte j
    for (int i = 0; i < 2; ++i) {
      const I32x16 line = line_of(p, i);
      values[2 * i] = bit_and(line, 0x3f3f3f3f);
      values[2 * i + 1] =
          bit_or(bit_and(shift_right(line, 2), 0x30303030), bit_and(shift_right(line_of(p, 2), 4 * i), 0x0f0f0f0f));
    }
    for (int i = 0; i < B::kSubBlocks / 4; ++i) scale_bytes<B>(d, values[i], out.scales + 4 * i);
    if constexpr (B::kHasMinimum)
      for (int i = 0; i < 2; ++i) minimum_bytes(values[2 + i], out.minimums + 2 * i);
  }
}

// A sub-block's sums of N tokens side by side: what they begin with, as the codes have an offset, and their end.
template <class B, int N, int n = 0>
TM_FN void begin_ints(I32x16 (&ints)[N], const float* x_sums) {
  ints[n] = set1_u32(Traits<B>::kOffset != 0 ? bits_from_float(x_sums[n]) : 0);
  if constexpr (n + 1 < N) begin_ints<B, N, n + 1>(ints, x_sums);
}
template <int N, int n = 0>
TM_FN void close_ints(F32x16* sums, F32x16 scale, const I32x16 (&ints)[N]) {
  sums[n] = fma(scale, to_float(ints[n]), sums[n]);
  if constexpr (n + 1 < N) close_ints<N, n + 1>(sums, scale, ints);
}

// sums += sub-blocks of one unit, of N of T tokens. `x_sums`: the first token's, of the unit's first sub-block.
template <class B, int T, int N, int s = 0>
TM_FN void add_unit(F32x16* sums, const I32x16 (&codes)[kUnitFours], const F32x16* scales, const char* x,
                    const float* x_sums) {
  using Type = Traits<B>;
  constexpr int kFours = kUnitFours / Type::kUnitSubBlocks;
  I32x16 ints[N];
  begin_ints<B, N>(ints, x_sums + s * T);
  dot_tokens<Type::kMaxCode, kFours, N, kUnit>(ints, codes + s * kFours, x + 4 * kFours * s);
  close_ints<N>(sums, scales[s], ints);
  if constexpr (s + 1 < Type::kUnitSubBlocks) add_unit<B, T, N, s + 1>(sums, codes, scales, x, x_sums);
}

template <int T, int t>
constexpr int kTogether = T - t < kTokensTogether ? T - t : kTokensTogether;

// Token after token: loops would leave the sums in memory.
template <class B, int T, int t = 0>
TM_FN void add_units(F32x16 (&sums)[T], const I32x16 (&codes)[kUnitFours], const F32x16* scales, const char* x,
                     const float* x_sums) {
  constexpr int N = kTogether<T, t>;
  add_unit<B, T, N>(sums + t, codes, scales, x + kUnit * t, x_sums + t);
  if constexpr (t + N < T) add_units<B, T, t + N>(sums, codes, scales, x, x_sums);
}

// total += d_x sum, the minimums taken off; of one token.
template <class B, int T>
TM_FN F32x16 close_block(const Scales<B>& scales, F32x16 sum, const float* x_scale, const float* x_sums, F32x16 total) {
  if constexpr (B::kHasMinimum && B::kSubBlocks > 1) {
    I32x16 ints = set1_u32(0);
    for (int i = 0; i < B::kSubBlocks / 2; ++i)
      ints = add_products_i16(ints, scales.minimums[i], bits_from_float(x_sums[i * T]));
    sum = fma(scales.minus_m, to_float(ints), sum);
  } else if constexpr (B::kHasMinimum) {
    sum = fma(scales.minus_m, set1(*x_sums), sum);
  }
  return fma(set1(*x_scale), sum, total);
}
template <class B, int T, int N, int n = 0>
TM_FN void close_blocks(const Scales<B>& scales, const F32x16 (&sums)[N], const Inputs& in, int t, F32x16* totals) {
  totals[n] = close_block<B, T>(scales, sums[n], in.scales + t + n, in.sums + t + n, totals[n]);
  if constexpr (n + 1 < N) close_blocks<B, T, N, n + 1>(scales, sums, in, t, totals);
}
template <int N, int n = 0>
TM_FN void clear(F32x16 (&sums)[N]) {
  sums[n] = set1(0);
  if constexpr (n + 1 < N) clear<N, n + 1>(sums);
}

// Blocks of one unit, where a token's sum need not live on.
template <class B, int T, int t = 0>
TM_FN void add_block(const Scales<B>& scales, const I32x16 (&codes)[kUnitFours], const Inputs& in,
                     F32x16 (&totals)[T]) {
  constexpr int N = kTogether<T, t>;
  F32x16 sums[N];
  clear(sums);
  add_unit<B, T, N>(sums, codes, scales.scales, in.x + kUnit * t, in.sums + t);
  close_blocks<B, T, N>(scales, sums, in, t, totals + t);
  if constexpr (t + N < T) add_block<B, T, t + N>(scales, codes, in, totals);
}

template <class B, int T>
TM_FN void multiply_block(const char* block, const Inputs& in, F32x16 (&totals)[T]) {
  using Type = Traits<B>;
  Scales<B> scales;
  load_scales<B>(block, scales);
  I32x16 codes[kUnitFours];
  const char* p = block + Type::Panel::kCodes;
  if constexpr (B::kValues == kUnit) {
    load_unit<B>(p, codes);
    add_block<B, T>(scales, codes, in, totals);
  } else {
    F32x16 sums[T];
    clear(sums);
    const char* x = in.x;
    const float* x_sums = in.sums;
#pragma GCC unroll 1
    for (int s = 0; s < B::kSubBlocks; s += Type::kUnitSubBlocks) {
      load_unit<B>(p, codes);
      add_units<B, T>(sums, codes, scales.scales + s, x, x_sums);
      p += Type::Panel::kUnitBytes;
      x += kUnit * T;
      if constexpr (Type::kOffset != 0) x_sums += Type::kUnitSubBlocks * T;
    }
    close_blocks<B, T, T>(scales, sums, in, 0, totals);
  }
}

template <class B>
struct Decoder : PlainDecoder {
  static constexpr bool kBlocks = true;
  static constexpr int kStep = B::kValues, kLineBytes = ggml::PanelBlock<B>::kBytes;
  static constexpr int64_t kXElementBytes = 1;
  // A block's codes are taken apart for the whole chunk.
  static constexpr int kChunkTokens = TM_ISA::kChunkTokens < 12 ? TM_ISA::kChunkTokens : 16;
  // Integer sums of one panel's blocks depend on each other in nothing, and one stream is what is fetched ahead best.
  // (Tried: 2 and 4 panels at once; up to half the speed with one token.)
  static constexpr int max_panels(int) { return 1; }
  template <int R, int T>
  TM_FN void multiply_blocks(const MultiplyArgs& args, int64_t token, Cursor<R>& at, F32x16 (&totals)[R][T]) {
    constexpr int kInputSums = ggml::PanelBlock<B>::kInputSums;
    const int64_t first_group = token * args.n_groups;
    Inputs in{at.x, args.row_scales + first_group, args.group_sums + first_group * kInputSums};
    const char* block = at.w[0];
    for (int64_t g = 0; g < args.n_groups; ++g) {
      multiply_block<B, T>(block, in, totals[0]);
      block += kLineBytes;
      in.x += B::kValues * T;
      in.scales += T;
      in.sums += kInputSums * T;
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

template <class B>
TM_FN int32_t sum_of(const int8_t* q) {
  int32_t sum = 0;
  for (int k = 0; k < B::kSub; ++k) sum += q[k];
  return sum;
}
// Sum i of a block's (schemes/ggml/panel.h), as bits.
template <class B>
TM_FN float input_sum(const int8_t* q, int i) {
  if constexpr (!B::kHasMinimum) {
    return float_from_bits(static_cast<uint32_t>(-Traits<B>::kOffset * sum_of<B>(q + i * B::kSub)));
  } else if constexpr (B::kSubBlocks == 1) {
    return static_cast<float>(sum_of<B>(q));
  } else {
    const int8_t* first = q + (i / 2 * 4 + i % 2) * B::kSub;
    const auto low = static_cast<uint16_t>(sum_of<B>(first)),
               high = static_cast<uint16_t>(sum_of<B>(first + 2 * B::kSub));
    return float_from_bits(static_cast<uint32_t>(low) | static_cast<uint32_t>(high) << 16);
  }
}

// Lines are of kUnit inputs here. A chunk's scales are [blocks][tokens of the chunk], its sums [their number][tokens]:
// a block's of all tokens lie in one cache line, which threads that each write some take from each other.
template <class B>
void prepare(const PrepareArgs& args) {
  constexpr int kInputSums = ggml::PanelBlock<B>::kInputSums, kTokens = Decoder<B>::kChunkTokens;
  for (int64_t b = 0; b < args.n_groups; ++b)
    for (int64_t t = args.token_begin; t < args.token_end; ++t) {
      const int64_t chunk = t / kTokens * kTokens, left = args.n_tokens - chunk, token = t - chunk;
      const int64_t width = left < kTokens ? left : kTokens;
      char* lines = args.values + chunk * input_bytes(args.in, 1) + b * B::kValues * width + token * kUnit;
      float* sums = args.group_sums + (chunk * args.n_groups + b * width) * kInputSums + token;
      int8_t q[B::kValues];
      args.row_scales[chunk * args.n_groups + b * width + token] =
          quantize_block<B>(args.x + t * args.in + b * B::kValues, q);
      for (int k = 0; k < B::kValues; k += kUnit, lines += width * kUnit) __builtin_memcpy(lines, q + k, kUnit);
      for (int i = 0; i < kInputSums; ++i, sums += width) *sums = input_sum<B>(q, i);
    }
}

}  // namespace

#define TM_GGML_TABLE(name, type, block) \
  constinit const SchemeKernels name##_kernels{"int8", 1, prepare<ggml::block>, multiply<Decoder<ggml::block>>};
TM_GGML_SCHEMES(TM_GGML_TABLE)

}  // namespace trimeter::TM_ISA
