#include <algorithm>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/stream_matmul.cuh"
#include "kernels/cuda/stream_matmul.h"
#include "kernels/gpu_rows.h"
#include "kernels/gpu_scratch.h"

namespace trimeter::cuda {
namespace {

constexpr int kMaxCtas = 320;
constexpr int kMaxRows = 256;  // of a row block, all configurations
// Fewer stages of a CTA, and filling the ring costs more than another CTA brings.
constexpr int kMinStages = 3, kMinDeepStages = 2;

template <class C>
int resident_bytes(const StreamArgs& args) {
  return static_cast<int>(round_up(ceil_div(args.k_padded, C::kSegment), C::kStageSegments)) * 128;
}
template <class C>
void launch(StreamArgs args, cudaStream_t stream) {
  static_assert(C::kRows <= kMaxRows);
  static_assert(!C::kDeep || C::kNibbles || C::kRows == gpu_deep_rows(C::kTokens));
  // 256: what is static. Compute capability 8.6 and 8.9 have no room for two CTAs of some.
  const auto room = [](int ctas) { return std::min(card().shared_of_sm / ctas - 1024, card().shared_bytes) - 256; };
  static const bool raised = [&] {
    cudaFuncSetAttribute(stream_matmul_kernel<C>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         card().shared_of_sm < (128 << 10) ? room(1) : room(C::kCtasOfSm));
    return true;
  }();
  static_cast<void>(raised);
  args.n_segments = static_cast<int>(ceil_div(args.k_padded, C::kSegment));
  args.stages_per_row = static_cast<int>(ceil_div(args.n_segments, C::kStageSegments));
  const int beside = C::kDepthBytes + (C::kResident ? resident_bytes<C>(args) : 0);
  const auto stages = [&](int ctas) { return std::min((room(ctas) - beside) / C::kStageBytes, C::kMaxStages); };
  const int ctas_of_sm = stages(C::kCtasOfSm) >= 2 ? C::kCtasOfSm : 1;
  args.n_stages = stages(ctas_of_sm);
  if (args.n_stages < 2) unsupported("so little shared memory");
  args.n_early = std::min(args.n_stages - 1, kRawStages);
  const int n_row_blocks = static_cast<int>(ceil_div(args.n, C::kRows));
  // Those of 4 bits are shared always: they are bound by instructions, which all multiprocessors then have as many of.
  const bool whole = C::kDeep && !C::kNibbles && gpu_blocks_stay_whole(args.n, C::kRows, card().n_multiprocessors);
  args.share = whole ? args.stages_per_row : 1;
  const int n_shares = n_row_blocks * args.stages_per_row / args.share;
  const int most = std::min(card().n_multiprocessors * ctas_of_sm, kMaxCtas);
  const int wanted = whole      ? n_shares
                     : C::kDeep ? std::max(n_shares / kMinDeepStages, n_row_blocks)
                                : n_shares / kMinStages;
  const int ctas = std::clamp(wanted, 1, most);
  args.shares_of_cta = n_shares / ctas;
  args.shares_left = n_shares % ctas;
  launch_overlapped(stream_matmul_kernel<C>, dim3(static_cast<unsigned>(ctas)), C::kThreads,
                    static_cast<size_t>(args.n_stages) * C::kStageBytes + beside, stream, args);
}

// A CTA that has its rows alone has no sums to put together with others, which is what a small weight's time goes to;
// but it reads the whole input for few rows, and wants many rows or short ones to fill the card.
template <Weights kWeights, Scaling kScaling>
void launch_tokens(const StreamArgs& args, cudaStream_t stream) {
  constexpr int kPieces = StreamConfig<kWeights, kScaling, 1>::kPieces;
  constexpr int kTiles = kPieces == 1 ? 2 : 1;  // two of 4 bits share an input fragment
  const bool is_small = gpu_is_small(args.n, args.k);
  if (args.m <= 8) {
    using C = StreamConfig<kWeights, kScaling, 1, true, kTiles>;
    if constexpr (!(kScaling == Scaling::kBlock && C::kByteInput) && !C::kNibbles) {
      using Resident = StreamConfig<kWeights, kScaling, 1, true, kTiles, true>;
      if (args.m == 1 && resident_bytes<Resident>(args) <= kMostResidentBytes) return launch<Resident>(args, stream);
    }
    return launch<C>(args, stream);
  }
  if (args.m <= 16) {
    if (kPieces == 4 || is_small) return launch<StreamConfig<kWeights, kScaling, 2, true, kTiles>>(args, stream);
    if constexpr (kPieces < 4) return launch<StreamConfig<kWeights, kScaling, 2, false, kTiles>>(args, stream);
  }
  if constexpr (kWeights != Weights::kF16 && kWeights != Weights::kBF16) {
    if (args.m <= 32 && (kTiles == 1 || is_small)) return launch<StreamConfig<kWeights, kScaling, 4>>(args, stream);
    if constexpr (kTiles > 1)
      if (args.m <= 32) return launch<StreamConfig<kWeights, kScaling, 4, false, kTiles>>(args, stream);
    if constexpr (kPieces < 4) launch<StreamConfig<kWeights, kScaling, 8>>(args, stream);
  }
}

void dispatch(const DeviceMatrix& w, const StreamArgs& args, cudaStream_t stream) {
  const bool block = w.scale_form == ScaleForm::kBlock128, group = w.scale_form == ScaleForm::kGroup;
  const bool small_group = args.group_shift < 2, zeros = w.zeros != nullptr;
  switch (w.form) {
    case WeightForm::kF16:
      return launch_tokens<Weights::kF16, Scaling::kEnd>(args, stream);
    case WeightForm::kBF16:
      return launch_tokens<Weights::kBF16, Scaling::kEnd>(args, stream);
    case WeightForm::kE4M3:
      return block ? launch_tokens<Weights::kE4M3, Scaling::kBlock>(args, stream)
                   : launch_tokens<Weights::kE4M3, Scaling::kEnd>(args, stream);
    case WeightForm::kI8:
      return launch_tokens<Weights::kI8, Scaling::kEnd>(args, stream);
    case WeightForm::kE4M3Wide:
      return block ? launch_tokens<Weights::kE4M3Wide, Scaling::kBlock>(args, stream)
                   : launch_tokens<Weights::kE4M3Wide, Scaling::kEnd>(args, stream);
    case WeightForm::kI8Wide:
      if (group && small_group) return launch_tokens<Weights::kI8Wide, Scaling::kSmallGroup>(args, stream);
      if (group) return launch_tokens<Weights::kI8Wide, Scaling::kGroup>(args, stream);
      break;
    case WeightForm::kI4:
      if (group && zeros && small_group) return launch_tokens<Weights::kI4Zero, Scaling::kSmallGroup>(args, stream);
      if (group && zeros) return launch_tokens<Weights::kI4Zero, Scaling::kGroup>(args, stream);
      if (group && small_group) return launch_tokens<Weights::kI4, Scaling::kSmallGroup>(args, stream);
      if (group) return launch_tokens<Weights::kI4, Scaling::kGroup>(args, stream);
      break;
    case WeightForm::kF32:
      break;
  }
  unsupported("this form of weights and scales with few tokens");
}

int64_t input_bytes(InputForm form) {
  switch (form) {
    case InputForm::kF32:
      return 4;
    case InputForm::kF16:
    case InputForm::kBF16:
      return 2;
    default:
      return 1;
  }
}

}  // namespace

int64_t stream_tokens(WeightForm form) {
  switch (form) {
    case WeightForm::kF32:
      return 0;
    case WeightForm::kF16:
    case WeightForm::kBF16:
      return 16;
    case WeightForm::kE4M3:
      return kGpuFp8StreamTokens;
    case WeightForm::kI8:
      return 32;
    default:
      return 64;
  }
}

bool stream_takes_raw(const DeviceMatrix& w) {
  const bool is_block_of_bytes = w.form == WeightForm::kE4M3 && w.scale_form == ScaleForm::kBlock128;
  return !is_block_of_bytes && w.form != WeightForm::kI4 && w.form != WeightForm::kF32;
}

bool stream_makes_silu_mul(const DeviceMatrix& w, int64_t n_tokens) {
  const bool by_row = w.scale_form != ScaleForm::kBlock128 && w.scale_form != ScaleForm::kGroup;
  return n_tokens == 1 && by_row && w.form != WeightForm::kF32 && 2 * w.k <= kMostResidentBytes;
}

int64_t stream_workspace_bytes(int64_t n_tokens) {
  const int64_t tokens = n_tokens <= 8 ? 8 : n_tokens <= 16 ? 16 : n_tokens <= 32 ? 32 : 64;
  return kMatmulCounterBytes + int64_t{kMaxCtas} * 2 * kMaxRows * tokens * 4;
}

void stream_matmul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, bool accumulate, float* y,
                   int64_t ldy, const SiluMul& silu, void* workspace, cudaStream_t stream) {
  const bool padded = w.form == WeightForm::kE4M3Wide || w.form == WeightForm::kI8Wide || w.form == WeightForm::kI4;
  const bool fixed = x.form == InputForm::kE4M3Static || x.form == InputForm::kI8Static;
  StreamArgs args{};
  args.w = static_cast<const char*>(w.values);
  args.w_scales = static_cast<const char*>(w.scales);
  args.w_zeros = static_cast<const char*>(w.zeros);
  args.x_scale = fixed ? x.static_scale : 1.0f;
  args.raw = x.raw;
  args.silu = silu;
  args.fixed_scale = fixed;
  args.bias = bias;
  args.counters = static_cast<unsigned*>(workspace);
  args.partials = reinterpret_cast<float*>(static_cast<char*>(workspace) + kMatmulCounterBytes);
  args.ldy = ldy;
  args.n = static_cast<int>(w.n);
  args.k = static_cast<int>(w.k);
  args.k_padded = static_cast<int>(padded ? round_up(w.k, 64) : w.k);
  args.scale_stride = static_cast<int>(round_up(ceil_div(w.k, 128), 4));
  args.per_row = w.scale_form == ScaleForm::kRow;
  args.bf16_scales = w.scale_dtype == DType::kBF16;
  args.accumulate = accumulate;
  if (w.scale_form == ScaleForm::kGroup) {
    args.n_groups = static_cast<int>(w.k / w.group);
    args.group_shift = group_shift(w);
  }
  // 64 need a ring that compute capability 8.9 has no shared memory for.
  const int64_t step = std::min<int64_t>(stream_tokens(w.form), card().shared_bytes < (160 << 10) ? 32 : 64);
  for (int64_t t = 0; t < x.n_tokens; t += step) {
    args.m = static_cast<int>(std::min(step, x.n_tokens - t));
    args.x = static_cast<const char*>(x.values) + t * x.in * input_bytes(x.form);
    args.x_scales = x.scales == nullptr || fixed || x.raw.x != nullptr ? nullptr : x.scales + t;
    args.x_scale_stride = static_cast<int>(x.n_tokens);
    args.y = y + t * ldy;
    dispatch(w, args, stream);
  }
}

}  // namespace trimeter::cuda
