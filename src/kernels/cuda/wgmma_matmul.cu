#include <tuple>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/wgmma_matmul.cuh"
#include "kernels/cuda/wgmma_matmul.h"
#include "kernels/gpu_rows.h"
#include "kernels/gpu_scratch.h"

namespace trimeter::cuda {
namespace {

// f of the configuration that a product gets.
template <int kTokens, int kRowTiles, class F>
void of_weights(const DeviceMatrix& w, const F& f) {
  const bool small = group_shift(w) < 2;
  if (w.zeros != nullptr)
    return small ? f(WgmmaConfig<true, true, kTokens, kRowTiles>{}) : f(WgmmaConfig<true, false, kTokens, kRowTiles>{});
  return small ? f(WgmmaConfig<false, true, kTokens, kRowTiles>{}) : f(WgmmaConfig<false, false, kTokens, kRowTiles>{});
}
template <int kRowTiles, class F>
void of_tokens(const DeviceMatrix& w, int64_t n_tokens, const F& f) {
  if (n_tokens <= 16) return of_weights<16, kRowTiles>(w, f);
  if (n_tokens <= 32) return of_weights<32, kRowTiles>(w, f);
  if (n_tokens <= 64) return of_weights<64, kRowTiles>(w, f);
  if constexpr (kRowTiles == 1)
    of_weights<128, kRowTiles>(w, f);
  else
    unsupported("so many rows and tokens at once");
}

template <class C>
void raise_shared_memory() {
  static const cudaError_t status =
      cudaFuncSetAttribute(wgmma_matmul_kernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize, C::kSharedBytes);
  if (status != cudaSuccess) unsupported("so little shared memory");
}

// Clusters of so many CTAs that run at once, of any configuration, as all take a multiprocessor each: fewer than
// multiprocessors would make, as a cluster lies within a group of them.
const GpuClusters& clusters_at_once() {
  static const GpuClusters clusters = [] {
    using C = WgmmaConfig<false, false, 64, 2>;
    raise_shared_memory<C>();
    GpuClusters most{};
    for (unsigned size = 2; size <= C::kMostCluster; size++) {
      cudaLaunchAttribute attribute{};
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim = {size, 1, 1};
      cudaLaunchConfig_t config{};
      config.gridDim = dim3(size);
      config.blockDim = dim3(C::kThreads);
      config.dynamicSmemBytes = C::kSharedBytes;
      config.attrs = &attribute;
      config.numAttrs = 1;
      int n = 0;
      if (cudaOccupancyMaxActiveClusters(&n, wgmma_matmul_kernel<C>, &config) == cudaSuccess)
        most[size] = n;
      else
        cudaGetLastError();  // a card that has none of this size
    }
    return most;
  }();
  return clusters;
}

}  // namespace

static_assert(kMatmulCounterBytes == kGpuMatmulCounterBytes);  // by which gpu_wgmma_division() limits sharing

bool wgmma_matmul_takes(const DeviceMatrix& w, int64_t n_tokens) {
  return w.form == WeightForm::kI4 && w.scale_form == ScaleForm::kGroup &&
         gpu_wgmma_takes(w.n, w.k, n_tokens, compute_capability());
}

int64_t wgmma_workspace_bytes() {
  constexpr int64_t kPartial = WgmmaConfig<false, false, 64, 2>::kPartialFloats * 4;
  static_assert(WgmmaConfig<false, false, 128, 1>::kPartialFloats * 4 == kPartial);
  return kMatmulCounterBytes + 2 * card().n_multiprocessors * kPartial;
}

void wgmma_matmul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, bool accumulate, float* y,
                  int64_t ldy, void* workspace, cudaStream_t stream) {
  const GpuWgmmaDivision division =
      gpu_wgmma_division(w.n, w.k, x.n_tokens, card().n_multiprocessors, clusters_at_once());
  WgmmaArgs args{};
  args.w = static_cast<const char*>(w.values);
  args.scales = static_cast<const char*>(w.scales);
  args.zeros = static_cast<const char*>(w.zeros);
  args.x = static_cast<const char*>(x.values);
  args.bias = bias;
  args.y = y;
  args.counters = static_cast<unsigned*>(workspace);
  args.partials = reinterpret_cast<float*>(static_cast<char*>(workspace) + kMatmulCounterBytes);
  args.ldy = ldy;
  args.n = static_cast<int>(w.n);
  args.m = static_cast<int>(x.n_tokens);
  args.k = static_cast<int>(w.k);
  args.n_padded = static_cast<int>(round_up(w.n, 16));
  args.n_segments = static_cast<int>(ceil_div(w.k, 64));
  args.units_of_row = static_cast<int>(ceil_div(w.k, 128));
  args.cluster = static_cast<int>(division.cluster);
  args.n_groups = static_cast<int>(w.k / w.group);
  args.group_shift = group_shift(w);
  args.bf16_scales = w.scale_dtype == DType::kBF16;
  args.accumulate = accumulate;
  const int n_blocks = static_cast<int>(ceil_div(w.n, division.rows));
  int ctas = n_blocks * args.cluster;
  args.share = args.units_of_row;
  if (division.is_shared) {
    ctas = card().n_multiprocessors;
    args.share = n_blocks * args.units_of_row / ctas;
    args.longer = n_blocks * args.units_of_row % ctas;
  }
  const auto launch = [&]<class C>(C) {
    static_assert(C::kRows == 128 * C::kRowTiles && C::kMostCluster < std::tuple_size_v<GpuClusters>);
    raise_shared_memory<C>();
    launch_in_clusters(wgmma_matmul_kernel<C>, dim3(static_cast<unsigned>(ctas)), C::kThreads, C::kSharedBytes,
                       args.cluster, stream, args);
  };
  division.rows == 128 ? of_tokens<1>(w, x.n_tokens, launch) : of_tokens<2>(w, x.n_tokens, launch);
}

}  // namespace trimeter::cuda
