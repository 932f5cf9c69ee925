// Which kernel a linear gets on a card, from the scheme's data alone: pure, without CUDA, so that a plan for a card
// that is not here says the same as the engine on it.
//
//   compute capability   8.0 to 8.8   16-bit, int8 tensor cores, weight-only decoding into bf16
//                        8.9, 9.x     and fp8 tensor cores
// What the card has no units for is weight-only: fp8 weights on 8.0 are decoded into bf16, activations stay in bf16.
#pragma once
#include <string>

#include "base/target.h"
#include "schemes/scheme.h"

namespace trimeter {

// What the kernel multiplies.
enum class GpuArithmetic { kF32, kF16, kBF16, kFp8, kInt8 };

// Why the card can't run the scheme; empty if it can.
std::string gpu_refuses(const SchemeInfo& scheme, int compute_capability);
std::string gpu_refuses(const SchemeInfo& scheme, MatShape shape, int compute_capability);
// Throws Error(kUnsupported) for what gpu_refuses.
GpuArithmetic gpu_arithmetic(const SchemeInfo& scheme, int compute_capability);
KernelPlan gpu_plan(const SchemeInfo& scheme, int compute_capability);
// The same of one linear, whose shape may have the kernel of few tokens alone: gpu_tokens_at_once().
KernelPlan gpu_plan(const SchemeInfo& scheme, MatShape shape, int compute_capability);
// How many of n_tokens a product takes at a time, reading the weight for each: all of them but where cuBLASLt has no
// fp8 kernel.
int64_t gpu_tokens_at_once(const SchemeInfo& scheme, MatShape shape, int compute_capability, int64_t n_tokens);

// As many rows as the product could have in its time were they even among the card's multiprocessors:
// kernels/gpu_rows.h. out where they are even, a library or wgmma_matmul.cuh divides them, or n_multiprocessors is 0,
// unknown.
int64_t gpu_rows_waited_for(const SchemeInfo& scheme, MatShape shape, int compute_capability, int64_t n_tokens,
                            int64_t n_multiprocessors);

// What a card's weight may have beside its scales, made of them: f32 [ceil(out / 128)][ceil(in / 128) rounded up to 4],
// of products that kernels/gpu_scratch.h's gpu_fp8_by_block() names.
int64_t gpu_block_scales_bytes(const SchemeInfo& scheme, int compute_capability, MatShape shape);

// The input as the kernel multiplies it, [n_tokens, in], and its scales: f32, one for a token or for a token and group.
// Both have room for fewer tokens.
int64_t gpu_input_bytes(const SchemeInfo& scheme, int compute_capability, int64_t n_tokens, int64_t in);
int64_t gpu_input_scales_bytes(const SchemeInfo& scheme, int compute_capability, int64_t n_tokens, int64_t in);
// Scratch of one product of n_tokens rows.
int64_t gpu_linear_workspace_bytes(const SchemeInfo& scheme, int compute_capability, MatShape shape, int64_t n_tokens);

// Scheme::plan on a CPU, gpu_plan on a card.
KernelPlan plan_on(const Scheme& scheme, Target target);
KernelPlan plan_on(const Scheme& scheme, MatShape shape, Target target);

}  // namespace trimeter
