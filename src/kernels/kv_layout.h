// How a KV block lies in memory. The pool is [n_blocks] of block_bytes(); inside a block:
//   [n_layers][n_kv_heads] of { K: [block_size/16][head_dim][16 tokens],  V: [block_size][head_dim] }, elements of
//   dtype
// Int8 has a scale for each token and head: K's and V's elements are each followed by fp16 [block_size], value = code *
// scale, scale = amax / 127. Fp8 (e4m3) has one for K and one for V of a layer, which lie with the weights.
// K is transposed in runs of 16 tokens so that a vector lane is a token: scores need no horizontal sum. V is row-major
// so that a lane is a channel.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace trimeter {

inline constexpr int64_t kKvRun = 16;  // tokens per transposed run of K; block_size is a multiple of it

struct KvLayout {
  int64_t n_layers = 0, n_kv_heads = 0, head_dim = 0, block_size = 16;
  DType dtype = DType::kBF16;  // kBF16, kF16, kF32, kF8E4M3 or kI8

  // K (or V) of one head of one layer, its scales included.
  int64_t element_bytes() const { return head_dim * block_size * size_of(dtype); }
  int64_t half_bytes() const { return element_bytes() + (dtype == DType::kI8 ? block_size * 2 : 0); }
  // 2 * layers * kv_heads * head_dim * bytes(kv) * block_size + scales: DESIGN.md, "The memory ledger".
  int64_t block_bytes() const { return 2 * n_layers * n_kv_heads * half_bytes(); }
  int64_t k_offset(int64_t block, int64_t layer, int64_t head) const {
    return block * block_bytes() + (layer * n_kv_heads + head) * 2 * half_bytes();
  }
  int64_t v_offset(int64_t block, int64_t layer, int64_t head) const {
    return k_offset(block, layer, head) + half_bytes();
  }
};

// What fp8 elements of a layer are multiples of.
struct KvScale {
  float k = 1, v = 1;
};

// The pool as kernels see it.
struct KvView {
  KvLayout layout;
  std::byte* blocks = nullptr;
};

}  // namespace trimeter
