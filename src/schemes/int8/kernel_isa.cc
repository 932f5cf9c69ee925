#include "schemes/int8/int8.h"
#include "schemes/multiply.inl"

namespace trimeter::TM_ISA {
namespace {

// A lane of 32 bits holds the codes of k0 k2 k1 k3 of a row.
struct Int8Decoder : PlainDecoder {
  static constexpr int kStep = 4, kPartX = 1, kLineBytes = 64;
  using X = uint32_t;
  using Raw = I32x16;
  using Part = I32x16;
  using Sum = I32x16;
  TM_FN Sum zero() { return set1_u32(0); }
  TM_FN Raw load(const char* p) { return load_u32(p); }
  TM_FN F32x16 finish(Sum total, const MultiplyArgs& args, int64_t row, int64_t token) {
    const auto offset = 128u * static_cast<uint32_t>(static_cast<int32_t>(args.group_sums[token]));
    const F32x16 scale = TM_ISA::load(reinterpret_cast<const float*>(group_scales(args, row, 0)));
    return mul(set1(args.row_scales[token]), mul(scale, to_float(sub(total, set1_u32(offset)))));
  }
};

#if defined(TM_ISA_avx512_bf16)
constexpr int64_t kCodeBytes = 1;
struct Decoder : Int8Decoder {
  static constexpr int kParts = 1;
  static constexpr int64_t kXElementBytes = kCodeBytes;
  template <int>
  TM_FN Part part(Raw raw) {
    return raw;
  }
  TM_FN Sum dot(Sum sum, Part w, const X* x) {
    return {_mm512_dpbusd_epi32(sum.v, w.v, _mm512_set1_epi32(static_cast<int>(*x)))};
  }
};
// In the order of the codes.
TM_FN void store_codes(TokenPlace place, int64_t k, F32x16 codes) {
  const __m128i order = _mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
  const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(codes.v));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(place.byte(k)), _mm_shuffle_epi8(bytes, order));
}
#else
// Not vpmaddubsw: its pairs of products saturate in 16 bits (2 * 255 * 127; with the signs moved into the inputs still
// 2 * 128 * 128). Products of widened pairs are exact, in as many instructions for each token: vpmaddwd and an addition
// twice, instead of vpsignb, vpmaddubsw, vpmaddwd and an addition.
constexpr int64_t kCodeBytes = 2;
struct Decoder : Int8Decoder {
  static constexpr int kParts = 2;
  static constexpr int64_t kXElementBytes = kCodeBytes;
  template <int J>
  TM_FN Part part(Raw raw) {
    return bit_and(shift_right(raw, 8 * J), 0x00ff00ffu);
  }
  TM_FN Sum dot(Sum sum, Part w, const X* x) { return add_products_i16(sum, w, *x); }
};
TM_FN void store_codes(TokenPlace place, int64_t k, F32x16 codes) {
  store_i16(reinterpret_cast<int16_t*>(place.byte(2 * k)), codes);
}
#endif

TM_FN F32x16 round_to_int8(F32x16 x) { return round(min(max(x, set1(-128)), set1(127))); }

void prepare(const PrepareArgs& args) {
  for (int64_t t = args.token_begin; t < args.token_end; ++t) {
    float scale = args.input_scale, inverse = 0;
    const bool dynamic = scale == 0;
    if (dynamic) {
      F32x16 largest = set1(0);
      for (int64_t k = 0; k < args.in; k += 16) largest = max(largest, abs(load_input(args, t, k)));
      const float amax = reduce_max(largest);
      scale = amax / 127;
      inverse = amax > 0 ? 127 / amax : 0;
      if (inverse > 0x1p127f) inverse = 0;  // infinite, for an amax near the least float: all codes are 0
    }
    const TokenPlace place = place_token<Decoder>(args, t);
    F32x16 sum = set1(0);
    for (int64_t k = 0; k < args.in; k += 16) {
      const F32x16 x = load_input(args, t, k);
      const F32x16 codes = round_to_int8(dynamic ? mul(x, set1(inverse)) : div(x, set1(scale)));
      store_codes(place, k, codes);
      sum = add(sum, codes);
    }
    args.row_scales[t] = scale;
    args.group_sums[t] = reduce_add(sum);  // exact: below 2^24
  }
}

}  // namespace

constinit const SchemeKernels int8_kernels{"int8", kCodeBytes, prepare, multiply<Decoder>};

}  // namespace trimeter::TM_ISA
