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
  // Requests of max_model_len that fit at once: kv_blocks / ceil(max_model_len / block_size), vLLM's "Maximum
  // concurrency".
  double max_concurrency = 0;
};

Capacity measure_capacity(const EngineInfo& info);

}  // namespace trimeter
