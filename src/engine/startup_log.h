// What vLLM's log says while an engine starts, in its words (vLLM 0.11 on; "# CPU blocks" is the older spelling).
// Readers of vLLM's log find these in ours.
#pragma once
#include <string>
#include <vector>

#include "api/engine.h"

namespace trimeter {

std::string model_loading_line(int64_t weights_bytes, double seconds);
// "Using bf16.avx512 for qkv_proj, o_proj: fp8 requested, bf16 executed: no fp8 units": one per kernel, from
// kernel_lines() (model/kernel_lines.h) ("ROLE: KERNEL: ...").
std::vector<std::string> kernel_lines_by_kernel(const std::vector<std::string>& lines_by_role);
// Available KV cache memory, KV cache size, # blocks, maximum concurrency.
std::vector<std::string> kv_cache_lines(const EngineInfo& info);
// What of a card's memory is not KV cache, each measured.
std::string gpu_memory_line(const MemoryBreakdown& memory, int64_t context_bytes, int64_t graph_bytes);
std::string init_engine_line(double seconds);

}  // namespace trimeter
