#include "meters/capacity.h"

#include "base/error.h"

namespace trimeter {

Capacity measure_capacity(const EngineInfo& info) {
  TM_CHECK(info.block_size > 0, "blocks of {} tokens", info.block_size);
  TM_CHECK(info.memory.kv_bytes == info.kv_blocks * info.block_bytes, "a pool of {} bytes, {} blocks of {} bytes",
           info.memory.kv_bytes, info.kv_blocks, info.block_bytes);
  return {.kv_blocks = info.kv_blocks,
          .kv_cache_tokens = info.kv_blocks * info.block_size,
          .block_bytes = info.block_bytes,
          .memory = info.memory};
}

}  // namespace trimeter
