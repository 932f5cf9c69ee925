#include "schemes/gpu_plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/integers.h"
#include "kernels/gpu_rows.h"
#include "kernels/gpu_scratch.h"
#include "schemes/stacked_scheme.h"

namespace trimeter {
namespace {

constexpr int kLeastCapability = 80, kFp8Capability = 89, kMostCapability = 90;

std::string capability_text(int compute_capability) {
  return fmt::format("{}.{}", compute_capability / 10, compute_capability % 10);
}

// Dense floats, fp8 codes, codes on an integer grid. ggml's blocks are none of these, and a stack is several.
bool has_kernel(const SchemeInfo& scheme) {
  if (find_stacked_scheme(scheme.name) != nullptr) return false;
  return scheme.grid != nullptr || scheme.activation != DType::kI8;
}

}  // namespace

std::string gpu_refuses(const SchemeInfo& scheme, int compute_capability) {
  if (compute_capability < kLeastCapability || compute_capability > kMostCapability)
    return fmt::format("wanted a card of compute capability {} to {}, got {}", capability_text(kLeastCapability),
                       capability_text(kMostCapability), capability_text(compute_capability));
  if (!has_kernel(scheme)) return fmt::format("no CUDA kernel for {}", scheme.name);
  return "";
}

// Rows of plain values must begin at 16 bytes.
std::string gpu_refuses(const SchemeInfo& scheme, MatShape shape, int compute_capability) {
  if (std::string reason = gpu_refuses(scheme, compute_capability); !reason.empty()) return reason;
  const auto row_bytes = static_cast<int64_t>(static_cast<double>(shape.in) * scheme.bits_per_weight / 8);
  if (row_bytes % 16 != 0)
    return fmt::format("in = {}: wanted rows of a multiple of 16 bytes, got {}", shape.in, row_bytes);
  return "";
}

GpuArithmetic gpu_arithmetic(const SchemeInfo& scheme, int compute_capability) {
  if (const std::string reason = gpu_refuses(scheme, compute_capability); !reason.empty())
    throw Error(Errc::kUnsupported, "{}: {}", scheme.name, reason);
  switch (scheme.activation) {
    case DType::kF32:
      return GpuArithmetic::kF32;
    case DType::kF16:
      return GpuArithmetic::kF16;
    case DType::kF8E4M3:
      return compute_capability >= kFp8Capability ? GpuArithmetic::kFp8 : GpuArithmetic::kBF16;
    case DType::kI8:
      return GpuArithmetic::kInt8;
    default:
      return GpuArithmetic::kBF16;
  }
}

KernelPlan gpu_plan(const SchemeInfo& scheme, int compute_capability) {
  static constexpr std::string_view kNames[] = {"fp32", "fp16", "bf16", "fp8", "int8"};
  KernelPlan plan{.kernel = fmt::format("{}.{}", scheme.name, name(Target::gpu(compute_capability))),
                  .requested = std::string(scheme.requested),
                  .executed = std::string(kNames[static_cast<size_t>(gpu_arithmetic(scheme, compute_capability))]),
                  .reason = {}};
  if (plan.executed != plan.requested)
    plan.reason = fmt::format("no {} units in compute capability {}: weight-only", plan.requested,
                              capability_text(compute_capability));
  return plan;
}

namespace {

// gpu_lt_fp8_tokens() of an fp8 product; 1 of others, which have a kernel for any number of tokens.
int64_t tokens_of_kernel(const SchemeInfo& scheme, MatShape shape, int compute_capability) {
  if (gpu_arithmetic(scheme, compute_capability) != GpuArithmetic::kFp8) return 1;
  return gpu_lt_fp8_tokens(shape.out, shape.in, scheme.activation_group > 0, compute_capability);
}

}  // namespace

KernelPlan gpu_plan(const SchemeInfo& scheme, MatShape shape, int compute_capability) {
  KernelPlan plan = gpu_plan(scheme, compute_capability);
  const int64_t tokens = tokens_of_kernel(scheme, shape, compute_capability);
  if (tokens == 0)
    plan.reason = fmt::format(
        "the weight is read for every {} tokens: cuBLASLt has no fp8 kernel of {} x {} in compute capability {}",
        kGpuFp8StreamTokens, shape.out, shape.in, capability_text(compute_capability));
  if (tokens > 1)
    plan.reason = fmt::format(
        "the weight is read for every {} tokens where they are no multiple of {}: cuBLASLt has no fp8 kernel for such",
        kGpuFp8StreamTokens, tokens);
  return plan;
}

int64_t gpu_tokens_at_once(const SchemeInfo& scheme, MatShape shape, int compute_capability, int64_t n_tokens) {
  const int64_t tokens = tokens_of_kernel(scheme, shape, compute_capability);
  return tokens > 0 && n_tokens % tokens == 0 ? n_tokens : std::min(n_tokens, kGpuFp8StreamTokens);
}

int64_t gpu_rows_waited_for(const SchemeInfo& scheme, MatShape shape, int compute_capability, int64_t n_tokens,
                            int64_t n_multiprocessors) {
  if (n_multiprocessors == 0 || n_tokens > 16) return shape.out;
  const GpuArithmetic arithmetic = gpu_arithmetic(scheme, compute_capability);
  if (arithmetic == GpuArithmetic::kF32) return shape.out;
  if (scheme.bits_per_weight == 4) {
    const int64_t group = scheme.group_size > 0 ? scheme.group_size : shape.in;
    if (!gpu_int4_takes(shape.out, shape.in, n_tokens, scheme.grid->zero_points, group % 128 != 0,
                        gpu_shared_bytes(compute_capability)))
      return shape.out;
    return gpu_rows_waited_for(shape.out, kGpuInt4Rows, n_multiprocessors);
  }
  const bool is_wide = scheme.bits_per_weight == 8 && arithmetic == GpuArithmetic::kBF16;
  if (is_wide && n_tokens > 8 && !gpu_is_small(shape.out, shape.in)) return shape.out;
  const int64_t rows = gpu_deep_rows(n_tokens);
  if (!gpu_blocks_stay_whole(shape.out, rows, n_multiprocessors)) return shape.out;
  return gpu_rows_waited_for(shape.out, rows, n_multiprocessors);
}

int64_t gpu_block_scales_bytes(const SchemeInfo& scheme, int compute_capability, MatShape shape) {
  constexpr int64_t kBlock = 128, kRowOf = 4;
  if (gpu_arithmetic(scheme, compute_capability) != GpuArithmetic::kFp8 || scheme.activation_group > 0 ||
      !gpu_fp8_by_block(shape.out, shape.in, kGpuFp8BlockTokens, compute_capability))
    return 0;
  const int64_t stride = ceil_div(ceil_div(shape.in, kBlock), kRowOf) * kRowOf;
  return ceil_div(shape.out, kBlock) * stride * static_cast<int64_t>(sizeof(float));
}

int64_t gpu_input_bytes(const SchemeInfo& scheme, int compute_capability, int64_t n_tokens, int64_t in) {
  static constexpr int64_t kBytes[] = {4, 2, 2, 1, 1};
  return n_tokens * in * kBytes[static_cast<size_t>(gpu_arithmetic(scheme, compute_capability))];
}

int64_t gpu_input_scales_bytes(const SchemeInfo& scheme, int compute_capability, int64_t n_tokens, int64_t in) {
  const GpuArithmetic arithmetic = gpu_arithmetic(scheme, compute_capability);
  if (arithmetic != GpuArithmetic::kFp8 && arithmetic != GpuArithmetic::kInt8) return 0;
  constexpr int64_t kFloatBytes = sizeof(float);
  if (scheme.activation_group > 0) return n_tokens * (in / scheme.activation_group) * kFloatBytes;
  return (arithmetic == GpuArithmetic::kFp8 ? gpu_token_scales(n_tokens, in) : n_tokens) * kFloatBytes;
}

int64_t gpu_linear_workspace_bytes(const SchemeInfo&, int, MatShape, int64_t) { return kGpuMatmulWorkspaceBytes; }

KernelPlan plan_on(const Scheme& scheme, Target target) {
  return target.is_gpu() ? gpu_plan(scheme.info(), target.compute_capability) : scheme.plan(target.isa);
}

KernelPlan plan_on(const Scheme& scheme, MatShape shape, Target target) {
  return target.is_gpu() ? gpu_plan(scheme.info(), shape, target.compute_capability) : scheme.plan(target.isa);
}

}  // namespace trimeter
