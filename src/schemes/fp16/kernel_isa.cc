#include "schemes/fp16/fp16.h"
#include "schemes/multiply.inl"

namespace trimeter::TM_ISA {
namespace {

struct Decoder : PlainDecoder {
  static constexpr int kStep = 1, kParts = 1, kPartX = 1, kLineBytes = 32;
  static constexpr int64_t kXElementBytes = 4;
  using X = float;
  using Raw = F32x16;
  using Part = F32x16;
  TM_FN Raw load(const char* p) { return load_f16(reinterpret_cast<const uint16_t*>(p)); }
  template <int>
  TM_FN Part part(Raw raw) {
    return raw;
  }
  TM_FN F32x16 dot(F32x16 sum, Part w, const X* x) { return fma(w, set1(*x), sum); }
};

void prepare(const PrepareArgs& args) {
  prepare_f32<Decoder>(args, [](F32x16 x) { return round_to_f16(x); });
}

}  // namespace

constinit const SchemeKernels fp16_kernels{"fp32", 4, prepare, multiply<Decoder>};

}  // namespace trimeter::TM_ISA
