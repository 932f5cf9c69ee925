#include "kernels/cuda/kv_access.cuh"
#include "kernels/cuda/launch.h"

namespace trimeter::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kMaxPairs = 4;  // of a lane: head_dim <= 256

struct Args {
  float* qkv;
  const float *cos, *sin;
  StepView step;
  CacheView cache;
  int n_heads;
};

// One head of one row by a warp: pairs (i, i + head_dim / 2), i = lane, lane + 32, ...
template <class Kv>
__global__ void rope_kv_write_kernel(const __grid_constant__ Args args) {
  let_next_start();
  wait_for_inputs();
  const int lane = threadIdx.x % 32, head = blockIdx.y * kWarps + threadIdx.x / 32;
  const int64_t row = blockIdx.x;
  const int head_dim = args.cache.head_dim, half = head_dim / 2, n_kv = args.cache.n_kv_heads;
  if (head >= args.n_heads + 2 * n_kv) return;
  const int position = args.step.positions[row];
  if (position < 0) return;
  float* x = args.qkv + (row * (args.n_heads + 2 * n_kv) + head) * head_dim;
  const bool is_v = head >= args.n_heads + n_kv;
  float low[kMaxPairs], high[kMaxPairs], largest = 0;
#pragma unroll
  for (int j = 0; j < kMaxPairs; j++) {
    const int i = lane + 32 * j;
    low[j] = high[j] = 0;
    if (i >= half) continue;
    low[j] = x[i];
    high[j] = x[i + half];
    if (!is_v) {
      const float c = args.cos[static_cast<int64_t>(position) * half + i],
                  s = args.sin[static_cast<int64_t>(position) * half + i];
      const float rotated = low[j] * c - high[j] * s;
      high[j] = high[j] * c + low[j] * s;
      low[j] = rotated;
      x[i] = low[j];
      x[i + half] = high[j];
    }
    largest = fmaxf(largest, fmaxf(fabsf(low[j]), fabsf(high[j])));
  }
  if (head < args.n_heads) return;
  const int32_t* table = args.step.block_tables + args.step.seq_of_row[row] * args.step.table_stride;
  const int64_t block = table[position / args.cache.block_size];
  const int slot = position % args.cache.block_size;
  char* to = is_v ? args.cache.v(block, head - args.n_heads - n_kv) : args.cache.k(block, head - args.n_heads);
  const float scale = head_scale<Kv>(largest, is_v ? args.cache.v_scale : args.cache.k_scale);
  if (Kv::kTokenScales && lane == 0)
    reinterpret_cast<__half*>(to + args.cache.scales_at)[slot] = __float2half_rn(scale);
  auto* elements = reinterpret_cast<typename Kv::Element*>(to) + slot * head_dim;
#pragma unroll
  for (int j = 0; j < kMaxPairs; j++) {
    const int i = lane + 32 * j;
    if (i >= half) continue;
    elements[i] = Kv::narrow(low[j], scale);
    elements[i + half] = Kv::narrow(high[j], scale);
  }
}

}  // namespace

void rope_kv_write(float* qkv, int64_t n_heads, const float* cos, const float* sin, const StepView& step,
                   const KvView& kv, int64_t layer, KvScale scale, cudaStream_t stream) {
  if (kv.layout.head_dim > 64 * kMaxPairs) unsupported("heads this wide");
  const Args args{qkv, cos, sin, step, cache_view(kv, layer, scale), static_cast<int>(n_heads)};
  const dim3 grid(static_cast<unsigned>(step.n_rows),
                  static_cast<unsigned>(ceil_div(n_heads + 2 * kv.layout.n_kv_heads, kWarps)));
  with_kv(kv.layout.dtype, [&](auto tag) {
    launch_overlapped(rope_kv_write_kernel<decltype(tag)>, grid, 32 * kWarps, 0, stream, args);
  });
}

}  // namespace trimeter::cuda
