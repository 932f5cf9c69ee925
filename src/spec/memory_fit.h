#pragma once
#include <string>

#include "base/memory_breakdown.h"
#include "spec/ledger.h"

namespace trimeter {

struct DeviceBudget {
  int64_t device_memory_bytes = 0;
  double utilization = 0.9;
  int64_t runtime_bytes = 0;  // of a card: its context, and what others hold of its memory
};

// The number of KV blocks that the budget leaves (spec/ledger.h: kv_blocks). Throws Error(kNoMemory) with every term
// and with what is missing if one sequence of max_model_len tokens does not fit. what: "models/demo in awq".
int64_t blocks_that_fit(const std::string& what, const DeviceBudget& budget, const MemoryBreakdown& memory,
                        const EngineLimits& limits, int64_t block_bytes);

}  // namespace trimeter
