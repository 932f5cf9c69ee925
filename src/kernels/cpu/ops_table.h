// What each ISA's ops_isa.cc provides. ops.h describes the functions; these take plain types alone.
#pragma once
#include <stdint.h>

#include "kernels/kv_layout.h"

namespace trimeter {

// One KV head of one layer, over a pool of blocks.
struct HeadView {
  const char* blocks;     // block 0, this layer and head: K, then V
  int64_t block_bytes;    // from a block to the next
  int64_t v_offset;       // from K to V
  int64_t scales_offset;  // from K (or V) to the scales of its tokens, int8 alone
  int64_t head_dim, block_size;
  DType dtype;
};

struct AttentionArgs {
  HeadView kv;
  const int32_t* block_table;
  int64_t n_context;
  const float* q;
  int64_t group;
  float scale;
  KvScale kv_scale;
  float* out;
};

struct KvWriteArgs {
  const float *k, *v;  // [head_dim]
  int64_t head_dim;
  DType dtype;
  KvScale scale;
  char *k_slot, *v_slot, *k_scale_slot, *v_scale_slot;
};

struct OpsTable {
  void (*rms_norm)(const float* x, const float* g, double eps, int64_t n, float* y);
  void (*rope)(float* x, int64_t n_heads, int64_t head_dim, const float* cos, const float* sin);
  void (*kv_write)(const KvWriteArgs& args);
  void (*attention)(const AttentionArgs& args);
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* y);
};

namespace scalar {
extern const OpsTable ops;
}
namespace avx2 {
extern const OpsTable ops;
}
namespace avx512 {
extern const OpsTable ops;
}
namespace avx512_bf16 {
extern const OpsTable ops;
}

}  // namespace trimeter
