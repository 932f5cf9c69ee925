#include <algorithm>

#include "kernels/cuda/int4_matmul.cuh"
#include "kernels/cuda/int4_matmul.h"
#include "kernels/cuda/launch.h"
#include "kernels/gpu_rows.h"

namespace trimeter::cuda {
namespace {

// f of the configuration that a product gets.
template <class F>
auto configured(const DeviceMatrix& w, int64_t n_tokens, const F& f) {
  const auto of_tokens = [&]<bool kZeros, bool kSmallGroup>() {
    if (n_tokens == 1) return f(Int4Config<kZeros, kSmallGroup, 1>{});
    if (n_tokens <= 4) return f(Int4Config<kZeros, kSmallGroup, 4>{});
    return f(Int4Config<kZeros, kSmallGroup, 8>{});
  };
  const bool small = w.group % 128 != 0;
  if (w.zeros != nullptr)
    return small ? of_tokens.template operator()<true, true>() : of_tokens.template operator()<true, false>();
  return small ? of_tokens.template operator()<false, true>() : of_tokens.template operator()<false, false>();
}
template <class C>
int n_units(int64_t k) {
  return static_cast<int>(ceil_div(k, C::kSegments * 64));
}

}  // namespace

bool int4_matmul_takes(const DeviceMatrix& w, int64_t n_tokens) {
  return w.form == WeightForm::kI4 && w.scale_form == ScaleForm::kGroup &&
         gpu_int4_takes(w.n, w.k, n_tokens, w.zeros != nullptr, w.group % 128 != 0, card().shared_bytes);
}

void int4_matmul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, bool accumulate, float* y, int64_t ldy,
                 const SiluMul& silu, cudaStream_t stream) {
  Int4Args args{};
  args.w = static_cast<const char*>(w.values);
  args.scales = static_cast<const char*>(w.scales);
  args.zeros = static_cast<const char*>(w.zeros);
  args.x = static_cast<const char*>(x.values);
  args.raw = x.raw;
  args.silu = silu;
  args.bias = bias;
  args.y = y;
  args.ldy = ldy;
  args.n = static_cast<int>(w.n);
  args.m = static_cast<int>(x.n_tokens);
  args.k = static_cast<int>(w.k);
  args.n_segments = static_cast<int>(ceil_div(w.k, 64));
  args.group_shift = group_shift(w);
  args.bf16_scales = w.scale_dtype == DType::kBF16;
  args.accumulate = accumulate;
  configured(w, x.n_tokens, [&]<class C>(C) {
    static_assert(C::kRows == kGpuInt4Rows &&
                  C::shared_bytes(7) == gpu_int4_shared_bytes(7 * 128, C::kMaxTokens, C::kZeros, C::kSmallGroup));
    static const bool raised = [] {
      cudaFuncSetAttribute(int4_matmul_kernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, card().shared_bytes);
      return true;
    }();
    static_cast<void>(raised);
    args.n_units = n_units<C>(w.k);
    // More than half of a multiprocessor's: were there room for two CTAs, some would get two and others none while the
    // kernel before this one is still there.
    const int shared = std::max(C::shared_bytes(args.n_units), card().shared_of_sm / 2);
    const int64_t ctas = std::min<int64_t>(ceil_div(w.n, C::kRows), card().n_multiprocessors);
    launch_overlapped(int4_matmul_kernel<C>, dim3(static_cast<unsigned>(ctas)), C::kThreads,
                      static_cast<size_t>(shared), stream, args);
  });
}

}  // namespace trimeter::cuda
