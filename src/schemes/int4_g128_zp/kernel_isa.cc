#include "schemes/bf16_dot.inl"
#include "schemes/int4_g128_zp/int4_g128_zp.h"

namespace trimeter::TM_ISA {
namespace {

#if defined(TM_ISA_avx512_bf16)
// bf16 of q - 8, twice: vpermw looks at five bits of an index, and the fifth belongs to the next nibble.
struct PairTable {
  alignas(64) uint16_t values[32] = {};
  constexpr PairTable() {
    for (int i = 0; i < 32; ++i) values[i] = bf16_from_float(static_cast<float>(i % 16 - 8));
  }
};
constexpr PairTable kPairTable;
#endif

struct Decoder {
  static constexpr int kStep = 8, kParts = 4, kPartX = kPairInputs, kLineBytes = 64, kGroup = 128, kGroupBytes = 40;
  static constexpr int64_t kXElementBytes = kBf16InputBytes;
  using X = PairInput;
  using Raw = I32x16;
  using Part = PairWeights;
  struct Group {
    F32x16 scale, zero;  // zero: z - 8
  };
  TM_FN Raw load(const char* p) { return load_u32(p); }
  template <int J>
  TM_FN Part part(Raw raw) {
#if defined(TM_ISA_avx512_bf16)
    return {_mm512_permutexvar_epi16(_mm512_srli_epi32(raw.v, 4 * J), _mm512_load_si512(kPairTable.values))};
#else
    return {nibble_minus_8(shift_right(raw, 4 * J)), nibble_minus_8(shift_right(raw, 16 + 4 * J))};
#endif
  }
  TM_FN F32x16 dot(F32x16 sum, Part w, const X* x) { return dot_pair(sum, w, x); }

  TM_FN Group load_group(const char* scales, int64_t n_rows, int64_t group, int64_t row) {
    const char* p = scales + group * n_rows / kRowVector * kGroupBytes;
    return {load_f16(reinterpret_cast<const uint16_t*>(p) + row),
            nibble_minus_8(load_nibbles(p + 2 * n_rows + row / 2))};
  }
  TM_FN F32x16 close_group(Group group, float sum_x, F32x16 sum, F32x16 total) {
    return fma(group.scale, sub(sum, mul(group.zero, set1(sum_x))), total);
  }
  TM_FN F32x16 finish(F32x16 total, const MultiplyArgs&, int64_t) { return total; }
};

void prepare(const PrepareArgs& args) {
  prepare_bf16(args);
  const int64_t n_groups = args.in / Decoder::kGroup;
  for (int64_t t = args.token_begin; t < args.token_end; ++t)
    for (int64_t g = 0; g < n_groups; ++g) {
      const float* x = args.x + t * args.in + g * Decoder::kGroup;
      F32x16 sum = set1(0);
      for (int k = 0; k < Decoder::kGroup; k += 16) sum = add(sum, round_to_bf16(load(x + k)));
      args.group_sums[t * n_groups + g] = reduce_add(sum);
    }
}

}  // namespace

constinit const SchemeKernels int4_g128_zp_kernels{kBf16Arithmetic, kBf16InputBytes, prepare, multiply<Decoder>};

}  // namespace trimeter::TM_ISA
