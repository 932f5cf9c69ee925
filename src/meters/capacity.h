// Meter 2: what the KV pool really holds.
#pragma once
#include <cstdint>

#include "api/engine.h"

namespace trimeter {

struct Capacity {
  int64_t kv_blocks = 0;
  int64_t kv_cache_tokens = 0;  // kv_blocks * block_size
  int64_t block_bytes = 0;
  MemoryBreakdown memory;
};

Capacity measure_capacity(const EngineInfo& info);

}  // namespace trimeter
