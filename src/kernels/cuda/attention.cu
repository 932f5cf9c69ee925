#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_args.cuh"
#include "kernels/cuda/launch.h"

namespace trimeter::cuda {
namespace {

// Any dtype and head_dim up to 256, in f32: a CTA for a row and a head, a warp for every fourth token, a lane for every
// 32nd channel.
constexpr int kWarps = 4, kMaxLaneChannels = 8;

template <class Kv>
__global__ void attention_plain_kernel(const __grid_constant__ AttentionArgs args) {
  __shared__ float stats[kWarps][2], sums[kWarps][32 * kMaxLaneChannels];
  const int64_t row = blockIdx.x;
  const int head = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32, head_dim = args.cache.head_dim;
  const int n_context = args.step.positions[row] + 1;
  const int32_t* table = args.table(args.step.seq_of_row[row]);
  const float* q = args.q(row, head);
  float query[kMaxLaneChannels], out[kMaxLaneChannels] = {}, largest = -INFINITY, sum = 0;
#pragma unroll
  for (int j = 0; j < kMaxLaneChannels; j++) query[j] = lane + 32 * j < head_dim ? q[lane + 32 * j] : 0;
  for (int token = warp; token < n_context; token += kWarps) {
    const int64_t block = table[token / args.cache.block_size];
    const int slot = token % args.cache.block_size;
    const char *k_half = args.cache.k(block, head / args.group), *v_half = args.cache.v(block, head / args.group);
    const auto* k = reinterpret_cast<const typename Kv::Element*>(k_half) + slot * head_dim;
    const auto* v = reinterpret_cast<const typename Kv::Element*>(v_half) + slot * head_dim;
    float k_scale = args.cache.k_scale, v_scale = args.cache.v_scale, score = 0;
    if constexpr (Kv::kTokenScales) {
      k_scale = __half2float(reinterpret_cast<const __half*>(k_half + args.cache.scales_at)[slot]);
      v_scale = __half2float(reinterpret_cast<const __half*>(v_half + args.cache.scales_at)[slot]);
    }
#pragma unroll
    for (int j = 0; j < kMaxLaneChannels; j++)
      if (lane + 32 * j < head_dim) score += query[j] * Kv::widen(k[lane + 32 * j]);
    for (int step = 16; step > 0; step /= 2) score += __shfl_xor_sync(0xffffffffu, score, step);
    score *= args.scale * k_scale;
    const float most = fmaxf(largest, score), keep = exp2f(largest - most), weight = exp2f(score - most);
    largest = most;
    sum = sum * keep + weight;
#pragma unroll
    for (int j = 0; j < kMaxLaneChannels; j++)
      if (lane + 32 * j < head_dim) out[j] = out[j] * keep + weight * v_scale * Kv::widen(v[lane + 32 * j]);
  }
  if (lane == 0) stats[warp][0] = largest, stats[warp][1] = sum;
#pragma unroll
  for (int j = 0; j < kMaxLaneChannels; j++) sums[warp][lane + 32 * j] = out[j];
  __syncthreads();
  float most = -INFINITY;
  for (int w = 0; w < kWarps; w++) most = fmaxf(most, stats[w][0]);
  for (int i = threadIdx.x; i < head_dim; i += 32 * kWarps) {
    float total = 0, weight = 0;
    for (int w = 0; w < kWarps && n_context > 0; w++) {
      const float keep = exp2f(stats[w][0] - most);
      total += keep * stats[w][1];
      weight += keep * sums[w][i];
    }
    args.out[(row * args.n_heads + head) * head_dim + i] = n_context > 0 ? weight / total : 0.0f;
  }
}

}  // namespace

void launch_plain(const AttentionArgs& args, DType dtype, cudaStream_t stream) {
  if (args.cache.head_dim > 32 * kMaxLaneChannels) unsupported("heads this wide");
  const dim3 grid(static_cast<unsigned>(args.step.n_rows), static_cast<unsigned>(args.n_heads));
  with_kv(dtype, [&](auto tag) { attention_plain_kernel<decltype(tag)><<<grid, 32 * kWarps, 0, stream>>>(args); });
  check_launch("attention_plain");
}

namespace {

bool on_tensor_cores(const KvLayout& layout) {
  return layout.dtype != DType::kF32 && (layout.head_dim == 64 || layout.head_dim == 128);
}

AttentionArgs args_of(const float* qkv, int64_t n_heads, const StepView& step, const KvView& kv, int64_t layer,
                      KvScale scale, float* out, const AttentionRoom& room) {
  const int64_t n_kv_heads = kv.layout.n_kv_heads, head_dim = kv.layout.head_dim;
  // One wave of CTAs while it is the splits that fill the card; more where contexts of different lengths should even
  // out.
  const int64_t pairs = step.n_seqs * n_kv_heads;
  const int64_t wanted =
      4 * pairs < kGpuAttentionCtas ? kGpuAttentionCtas / 2 / pairs : ceil_div(kGpuAttentionCtas, pairs);
  AttentionArgs args{};
  args.qkv = qkv;
  args.out = out;
  args.step = step;
  args.cache = cache_view(kv, layer, scale);
  args.n_heads = static_cast<int>(n_heads);
  args.group = static_cast<int>(n_heads / n_kv_heads);
  args.scale = kLog2E / std::sqrt(static_cast<float>(head_dim));
  args.n_splits = static_cast<int>(
      std::clamp<int64_t>(std::min(wanted, ceil_div(step.max_context, kGpuLeastSplitTokens)), 1, kMostSplits));
  if (step.n_seqs * n_kv_heads * ceil_div(args.group, kDecodeHeads) * 4 > kGpuMatmulCounterBytes) args.n_splits = 1;
  args.partial_out = static_cast<float*>(room.partials);
  args.partial_stats = args.partial_out + step.n_seqs * n_heads * args.n_splits * head_dim;
  args.arrived = room.counters;
  args.form = InputForm::kF32;
  args.made = out;
  return args;
}

void launch(const AttentionArgs& args, const KvLayout& layout, cudaStream_t stream) {
  if (!on_tensor_cores(layout)) return launch_plain(args, layout.dtype, stream);
  if (args.step.any_of_one_row) launch_decode(args, layout.dtype, stream);
  if (args.step.max_rows_per_seq > 1) launch_prefill(args, layout.dtype, stream);
}

}  // namespace

void attention(const float* qkv, int64_t n_heads, const StepView& step, const KvView& kv, int64_t layer, KvScale scale,
               float* out, const AttentionRoom& room, cudaStream_t stream) {
  launch(args_of(qkv, n_heads, step, kv, layer, scale, out, room), kv.layout, stream);
}

void rope_attention_prepare(float* qkv, int64_t n_heads, const float* cos, const float* sin, const StepView& step,
                            const KvView& kv, int64_t layer, KvScale scale, float* out, const AttentionRoom& room,
                            const DeviceInput& prepared, cudaStream_t stream) {
  AttentionArgs args = args_of(qkv, n_heads, step, kv, layer, scale, out, room);
  const bool one_kernel = step.max_rows_per_seq == 1 && on_tensor_cores(kv.layout) && args.group <= kDecodeHeads;
  if (!one_kernel) {
    rope_kv_write(qkv, n_heads, cos, sin, step, kv, layer, scale, stream);
    launch(args, kv.layout, stream);
    if (prepared.values != out) prepare(out, prepared, stream);
    return;
  }
  args.cos = cos;
  args.sin = sin;
  const bool made_there = !has_scales(prepared.form) && prepared.input_order == nullptr;
  if (made_there) {
    args.form = prepared.form;
    args.made = prepared.values;
  }
  launch_decode(args, kv.layout.dtype, stream);
  if (!made_there) prepare(out, prepared, stream);
}

}  // namespace trimeter::cuda
