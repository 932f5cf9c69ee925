// The dot product of a vector of 16-bit weights with bf16 activations, two k's at a time: vdpbf16ps where the ISA has
// it, two fused multiply-adds on f32 elsewhere. vdpbf16ps rounds each addition to nearest and flushes subnormals: an
// n-term chain errs by at most n * 2^-24 * sum |x w| plus what it flushes, as n fused multiply-adds do.
#pragma once
#include "schemes/multiply.inl"

namespace trimeter::TM_ISA {
namespace {

#if defined(TM_ISA_avx512_bf16)
constexpr const char* kBf16Arithmetic = "bf16";
constexpr int64_t kBf16InputBytes = 2;
using PairInput = uint32_t;     // bf16 x[k] and x[k + 1]
constexpr int kPairInputs = 1;  // of them per pair of k's
struct PairWeights {
  __m512i v;  // lane: bf16 w[k] and w[k + 1] of a row
};
TM_FN F32x16 dot_pair(F32x16 sum, PairWeights w, const uint32_t* x) {
  const __m512i pair = _mm512_set1_epi32(static_cast<int>(*x));
  return {_mm512_dpbf16_ps(sum.v, reinterpret_cast<__m512bh>(w.v), reinterpret_cast<__m512bh>(pair))};
}
#else
constexpr const char* kBf16Arithmetic = "fp32";
constexpr int64_t kBf16InputBytes = 4;
using PairInput = float;
constexpr int kPairInputs = 2;
struct PairWeights {
  F32x16 first, second;
};
TM_FN F32x16 dot_pair(F32x16 sum, PairWeights w, const float* x) {
  return fma(w.second, set1(x[1]), fma(w.first, set1(x[0]), sum));
}
#endif

// x rounded to bf16 (to nearest, ties to even), in the form that dot_pair reads.
template <class D>
TM_FN void prepare_bf16(const PrepareArgs& args) {
#if defined(TM_ISA_avx512_bf16)
  for (int64_t t = args.token_begin; t < args.token_end; ++t) {
    const TokenPlace place = place_token<D>(args, t);
    for (int64_t k = 0; k < args.in; k += 16)
      store_bf16(reinterpret_cast<uint16_t*>(place.byte(2 * k)), load_input(args, t, k));
  }
#else
  prepare_f32<D>(args, [](F32x16 x) { return round_to_bf16(x); });
#endif
}

}  // namespace
}  // namespace trimeter::TM_ISA
