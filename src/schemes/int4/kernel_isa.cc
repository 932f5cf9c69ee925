#include "schemes/bf16_dot.inl"
#include "schemes/int4/int4.h"

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

struct Decoder : LookUpDecoder {
  static constexpr int kStep = 8, kParts = 4, kPartX = kPairInputs, kLineBytes = 64;
  static constexpr int64_t kXElementBytes = kBf16InputBytes;
  using X = PairInput;
  using Raw = I32x16;
  using Part = PairWeights;
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
};

// z - 8 of 16 rows.
TM_FN F32x16 load_zeros(const char* scales) { return nibble_minus_8(load_nibbles(scales + 2 * kPanelRows)); }

struct ZeroPoints : Decoder {
  static constexpr bool kGrouped = true;
  static constexpr const float* MultiplyArgs::*kGroupInput = &MultiplyArgs::group_sums;
  struct Group {
    F32x16 scale, zero;
  };
  TM_FN Group load_group(const MultiplyArgs& args, int64_t row, int64_t group) {
    const char* p = group_scales(args, row, group);
    return {load_scales(args, p), load_zeros(p)};
  }
  TM_FN F32x16 close_group(Group group, float sum_x, F32x16 sum, F32x16 total) {
    return fma(group.scale, sub(sum, mul(group.zero, set1(sum_x))), total);
  }
};

struct Channel : ScaledRows<Decoder> {
  TM_FN F32x16 finish(F32x16 total, const MultiplyArgs& args, int64_t row, int64_t token) {
    if (args.group_sums != nullptr)
      total = sub(total, mul(load_zeros(group_scales(args, row, 0)), set1(args.group_sums[token])));
    return ScaledRows::finish(total, args, row, token);
  }
};

// A group is a multiple of 16 inputs, but for a whole row.
void prepare(const PrepareArgs& args) {
  prepare_bf16<Decoder>(args);
  if (args.group_sums == nullptr) return;
  const int64_t group_size = args.in / args.n_groups;
  for (int64_t t = args.token_begin; t < args.token_end; ++t)
    for (int64_t g = 0; g < args.n_groups; ++g) {
      F32x16 sum = set1(0);
      for (int64_t k = g * group_size; k < (g + 1) * group_size; k += 16)
        sum = add(sum, round_to_bf16(load_input(args, t, k)));
      args.group_sums[t * args.n_groups + g] = reduce_add(sum);
    }
}

}  // namespace

constinit const SchemeKernels int4_kernels{kBf16Arithmetic, kBf16InputBytes, prepare, multiply<ScaledGroups<Decoder>>};
constinit const SchemeKernels int4_zp_kernels{kBf16Arithmetic, kBf16InputBytes, prepare, multiply<ZeroPoints>};
constinit const SchemeKernels int4_channel_kernels{kBf16Arithmetic, kBf16InputBytes, prepare, multiply<Channel>};

}  // namespace trimeter::TM_ISA
