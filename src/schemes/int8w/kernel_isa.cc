#include "schemes/bf16_dot.inl"
#include "schemes/int8w/int8w.h"

namespace trimeter::TM_ISA {
namespace {

#if defined(TM_ISA_avx512_bf16)

// One byte of the bf16 of each code less 128.
struct ByteTable {
  alignas(64) uint8_t bytes[256] = {};
  constexpr explicit ByteTable(int shift) {
    for (int code = 0; code < 256; ++code)
      bytes[code] = static_cast<uint8_t>(bf16_from_float(static_cast<float>(code - 128)) >> shift);
  }
  __m512i quarter(int i) const { return _mm512_load_si512(bytes + 64 * i); }
};
constexpr ByteTable kLow(0), kHigh(8);

// vpermi2b ignores the highest bit. (Tried: magnitudes alone, the sign put on; two look-ups fewer and up to 17%
// slower.)
TM_FN __m512i look_up(const ByteTable& table, __m512i codes) {
  const __m512i lower = _mm512_permutex2var_epi8(table.quarter(0), codes, table.quarter(1));
  const __m512i upper = _mm512_permutex2var_epi8(table.quarter(2), codes, table.quarter(3));
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(codes), lower, upper);
}

struct Codes {
  __m512i low, high;  // bytes of the bf16s, in the order of the codes
};
TM_FN Codes load_codes(const char* p) {
  const __m512i codes = _mm512_loadu_si512(p);
  return {look_up(kLow, codes), look_up(kHigh, codes)};
}
template <int J>
TM_FN PairWeights pair(Codes raw) {
  constexpr __mmask64 kOddBytes = 0xaaaaaaaaaaaaaaaau;
  return {J == 0 ? _mm512_mask_blend_epi8(kOddBytes, raw.low, _mm512_slli_epi16(raw.high, 8))
                 : _mm512_mask_blend_epi8(kOddBytes, _mm512_srli_epi16(raw.low, 8), raw.high)};
}

#else

using Codes = I32x16;
TM_FN Codes load_codes(const char* p) { return load_u32(p); }
TM_FN F32x16 byte_minus_128(Codes raw, int shift) {
  return sub(to_float(bit_and(shift_right(raw, shift), 255)), set1(128));
}
template <int J>
TM_FN PairWeights pair(Codes raw) {
  return {byte_minus_128(raw, 8 * J), byte_minus_128(raw, 16 + 8 * J)};
}

#endif

// A lane of 32 bits holds the codes of k0 k2 k1 k3 of a row.
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
};

void prepare(const PrepareArgs& args) { prepare_bf16<Decoder>(args); }

constexpr SchemeKernels kGroupKernels{kBf16Arithmetic, kBf16InputBytes, prepare, multiply<ScaledGroups<Decoder>>};

}  // namespace

constinit const SchemeKernels int8w_kernels{kBf16Arithmetic, kBf16InputBytes, prepare, multiply<ScaledRows<Decoder>>};
constinit const SchemeKernels int8w_g32_kernels = kGroupKernels;
constinit const SchemeKernels int8w_g64_kernels = kGroupKernels;
constinit const SchemeKernels int8w_g128_kernels = kGroupKernels;

}  // namespace trimeter::TM_ISA
