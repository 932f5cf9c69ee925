#include "schemes/bf16/bf16.h"
#include "schemes/bf16_dot.inl"

namespace trimeter::TM_ISA {
namespace {

struct Decoder : PlainDecoder {
  static constexpr int kStep = 2, kParts = 1, kPartX = kPairInputs, kLineBytes = 64;
  static constexpr int64_t kXElementBytes = kBf16InputBytes;
  using X = PairInput;
  using Raw = I32x16;
  using Part = PairWeights;
  TM_FN Raw load(const char* p) { return load_u32(p); }
  template <int>
  TM_FN Part part(Raw raw) {
#if defined(TM_ISA_avx512_bf16)
    return {raw.v};
#else
    return {as_float(shift_left(raw, 16)), as_float(bit_and(raw, 0xffff0000u))};
#endif
  }
  TM_FN F32x16 dot(F32x16 sum, Part w, const X* x) { return dot_pair(sum, w, x); }
};

void prepare(const PrepareArgs& args) { prepare_bf16<Decoder>(args); }

}  // namespace

constinit const SchemeKernels bf16_kernels{kBf16Arithmetic, kBf16InputBytes, prepare, multiply<Decoder>};

}  // namespace trimeter::TM_ISA
