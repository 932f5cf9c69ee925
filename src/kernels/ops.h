// Operations that name no scheme: norm, rope, KV cache write, attention over blocks, activation. Single-threaded on the
// range they are given; the caller shares the work. Each picks the kernel of `isa`; every ISA agrees with kScalar
// within the bound that its header states. All are batch-invariant: a token's result depends on that token (and its
// sequence) alone, never on what else is in the call, on the chunk it came in, or on which blocks hold its context.
#pragma once
#include <cstdint>

#include "base/cpu.h"
#include "kernels/kv_layout.h"

namespace trimeter {

// y[i] = g[i] * x[i] / sqrt(mean(x^2) + eps)     one token; x, g, y: [n] f32; x and y may be the same
// (arXiv:1910.07467) The sum is f32 in 64 lanes: relative error at most (n/64 + 12) * 2^-24.
void rms_norm(const float* x, const float* g, double eps, int64_t n, float* y, Isa isa);

// cos and sin of position * inverse_frequency[i], [max_position][head_dim/2] each: made once at load, in double.
// Rotates pairs (i, i + head_dim/2) as transformers' rotate_half does. x: [n_heads][head_dim] f32, in place.
void rope(float* x, int64_t n_heads, int64_t head_dim, const float* cos, const float* sin, Isa isa);

// Stores one token's k and v ([n_kv_heads][head_dim] f32 each), rounded to the cache's dtype, at slot `slot` of
// `block`. Fp8 stores e4m3(x / scale), saturated; the others take no notice of `scale`.
void kv_write(const KvView& kv, int64_t layer, int64_t block, int64_t slot, const float* k, const float* v,
              KvScale scale, Isa isa);

// Causal attention of one token over its context, for the query heads that share KV head `kv_head`:
//   out[h] = softmax(scale * q[h] . K^T) V     h in the group; q, out: [group][head_dim] f32
// block_table: the sequence's blocks; n_context: tokens visible, the token itself included (already written).
// Online softmax over steps of 64 tokens in order of position, f32 throughout (arXiv:1805.02867). 8-bit elements are
// widened in registers: fp8's scales multiply the scores and the result, int8's the scores and weights of their tokens.
void attention(const KvView& kv, int64_t layer, int64_t kv_head, const int32_t* block_table, int64_t n_context,
               const float* q, int64_t group, float scale, KvScale kv_scale, float* out, Isa isa);

// y[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + exp(-x))     [n] f32; y may be gate
// Relative error of silu at most 2^-21; silu is 0 where it is smaller than 2^-120.
void silu_mul(const float* gate, const float* up, int64_t n, float* y, Isa isa);

}  // namespace trimeter
