#include "kernels/ops.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cpu/ops_table.h"

namespace trimeter {
namespace {

const OpsTable& table(Isa isa) {
  static constexpr const OpsTable* kTables[] = {&scalar::ops, &avx2::ops, &avx512::ops, &avx512_bf16::ops};
  return *kTables[static_cast<int>(isa)];
}

void check(const KvLayout& layout) {
  constexpr DType kDTypes[] = {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3, DType::kI8};
  TM_CHECK(std::ranges::find(kDTypes, layout.dtype) != std::end(kDTypes), "KV cache of {}", name(layout.dtype));
}

}  // namespace

void rms_norm(const float* x, const float* g, double eps, int64_t n, float* y, Isa isa) {
  table(isa).rms_norm(x, g, eps, n, y);
}

void rope(float* x, int64_t n_heads, int64_t head_dim, const float* cos, const float* sin, Isa isa) {
  table(isa).rope(x, n_heads, head_dim, cos, sin);
}

void kv_write(const KvView& kv, int64_t layer, int64_t block, int64_t slot, const float* k, const float* v,
              KvScale scale, Isa isa) {
  const KvLayout& layout = kv.layout;
  check(layout);
  const int64_t head_dim = layout.head_dim, element = size_of(layout.dtype);
  const int64_t k_slot = (slot / kKvRun * kKvRun * head_dim + slot % kKvRun) * element;
  char* blocks = reinterpret_cast<char*>(kv.blocks);
  for (int64_t h = 0; h < layout.n_kv_heads; ++h) {
    char *k_half = blocks + layout.k_offset(block, layer, h), *v_half = blocks + layout.v_offset(block, layer, h);
    const int64_t scale_offset = layout.element_bytes() + slot * 2;
    table(isa).kv_write({.k = k + h * head_dim,
                         .v = v + h * head_dim,
                         .head_dim = head_dim,
                         .dtype = layout.dtype,
                         .scale = scale,
                         .k_slot = k_half + k_slot,
                         .v_slot = v_half + slot * head_dim * element,
                         .k_scale_slot = k_half + scale_offset,
                         .v_scale_slot = v_half + scale_offset});
  }
}

void attention(const KvView& kv, int64_t layer, int64_t kv_head, const int32_t* block_table, int64_t n_context,
               const float* q, int64_t group, float scale, KvScale kv_scale, float* out, Isa isa) {
  const KvLayout& layout = kv.layout;
  check(layout);
  const HeadView head{.blocks = reinterpret_cast<const char*>(kv.blocks) + layout.k_offset(0, layer, kv_head),
                      .block_bytes = layout.block_bytes(),
                      .v_offset = layout.half_bytes(),
                      .scales_offset = layout.element_bytes(),
                      .head_dim = layout.head_dim,
                      .block_size = layout.block_size,
                      .dtype = layout.dtype};
  const KvScale layer_scale = layout.dtype == DType::kF8E4M3 ? kv_scale : KvScale{};
  table(isa).attention({head, block_table, n_context, q, group, scale, layer_scale, out});
}

void silu_mul(const float* gate, const float* up, int64_t n, float* y, Isa isa) { table(isa).silu_mul(gate, up, n, y); }

}  // namespace trimeter
