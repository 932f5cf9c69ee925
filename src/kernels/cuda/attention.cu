#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_args.cuh"
#include "kernels/cuda/launch.h"
#include "kernels/gpu_scratch.h"

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

void attention(const float* qkv, int64_t n_heads, const StepView& step, const KvView& kv, int64_t layer, KvScale scale,
               float* out, void* workspace, cudaStream_t stream) {
  attention_prepare(qkv, n_heads, step, kv, layer, scale, out, workspace, {}, stream);
}

void attention_prepare(const float* qkv, int64_t n_heads, const StepView& step, const KvView& kv, int64_t layer,
                       KvScale scale, float* out, void* workspace, const DeviceInput& prepared, cudaStream_t stream) {
  const int64_t n_kv_heads = kv.layout.n_kv_heads, head_dim = kv.layout.head_dim;
  // One wave of CTAs while it is the splits that fill the card; more where contexts of different lengths should even
  // out.
  const int64_t pairs = step.n_seqs * n_kv_heads;
  const int64_t wanted =
      4 * pairs < kGpuAttentionCtas ? kGpuAttentionCtas / 2 / pairs : ceil_div(kGpuAttentionCtas, pairs);
  const int64_t n_splits = std::clamp<int64_t>(std::min(wanted, ceil_div(step.max_context, 64)), 1, kMostSplits);
  AttentionArgs args{};
  args.qkv = qkv;
  args.out = out;
  args.step = step;
  args.cache = cache_view(kv, layer, scale);
  args.n_heads = static_cast<int>(n_heads);
  args.group = static_cast<int>(n_heads / n_kv_heads);
  args.scale = kLog2E / std::sqrt(static_cast<float>(head_dim));
  args.n_splits = static_cast<int>(n_splits);
  args.partial_out = static_cast<float*>(workspace);
  args.partial_stats = args.partial_out + step.n_seqs * n_heads * n_splits * head_dim;
  const auto prepare_out = [&] {
    if (prepared.values != nullptr) prepare(out, prepared, stream);
  };
  if (kv.layout.dtype == DType::kF32 || (head_dim != 64 && head_dim != 128)) {
    launch_plain(args, kv.layout.dtype, stream);
    return prepare_out();
  }
  const bool decoding = step.max_rows_per_seq == 1;
  if (step.any_of_one_row) launch_decode(args, kv.layout.dtype, stream);
  if (step.any_of_one_row && n_splits > 1) {
    const bool in_one = decoding && prepared.values != nullptr && can_merge_into(prepared);
    const DeviceInput f32{.form = InputForm::kF32, .n_tokens = step.n_seqs, .in = n_heads * head_dim, .values = out};
    launch_merge(args, decode_tile(kv.layout.dtype), in_one ? prepared : f32, stream);
    if (in_one) return;
  }
  if (!decoding) launch_prefill(args, kv.layout.dtype, stream);
  prepare_out();
}

}  // namespace trimeter::cuda
