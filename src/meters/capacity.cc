#include "meters/capacity.h"

#include "base/error.h"

namespace trimeter {

Capacity measure_capacity(const EngineInfo& info) {
  TM_CHECK(info.block_size > 0 && info.max_model_len > 0, "blocks of {} tokens, model of {}", info.block_size,
           info.max_model_len);
  TM_CHECK(info.memory.kv_bytes == info.kv_blocks * info.block_bytes, "a pool of {} bytes, {} blocks of {} bytes",
           info.memory.kv_bytes, info.kv_blocks, info.block_bytes);
  const int64_t blocks_per_request = (info.max_model_len + info.block_size - 1) / info.block_size;
  return {.kv_blocks = info.kv_blocks,
          .kv_cache_tokens = info.kv_blocks * info.block_size,
          .block_bytes = info.block_bytes,
          .memory = info.memory,
          .max_concurrency = static_cast<double>(info.kv_blocks) / static_cast<double>(blocks_per_request)};
}

}  // namespace trimeter
