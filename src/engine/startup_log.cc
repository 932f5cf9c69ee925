#include "engine/startup_log.h"

#include <fmt/format.h>

#include "base/integers.h"
#include "record/kernel_lines.h"

namespace trimeter {
namespace {

double gib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

}  // namespace

std::string model_loading_line(int64_t weights_bytes, double seconds) {
  return fmt::format("Model loading took {:.4f} GiB memory and {:.6f} seconds", gib(weights_bytes), seconds);
}

std::vector<std::string> kernel_lines_by_kernel(const std::vector<std::string>& lines_by_role) {
  std::vector<std::string> lines;
  for (const auto& [roles, said] : layers_of_kernels(lines_by_role)) {
    const size_t colon = said.find(": ");
    lines.push_back(fmt::format("Using {} for {}: {}", said.substr(0, colon), roles, said.substr(colon + 2)));
  }
  return lines;
}

std::vector<std::string> kv_cache_lines(const EngineInfo& info) {
  const int64_t blocks_of_longest = ceil_div(info.max_model_len, info.block_size);
  return {fmt::format("Available KV cache memory: {:.4f} GiB", gib(info.memory.kv_bytes)),
          fmt::format("{} KV cache size: {} tokens", info.device, with_commas(info.kv_blocks * info.block_size)),
          fmt::format("# {} blocks: {}", info.device, info.kv_blocks),
          fmt::format("Maximum concurrency for {} tokens per request: {:.2f}x", with_commas(info.max_model_len),
                      static_cast<double>(info.kv_blocks) / static_cast<double>(blocks_of_longest))};
}

std::string gpu_memory_line(const MemoryBreakdown& memory, int64_t context_bytes, int64_t graph_bytes) {
  return fmt::format(
      "GPU memory: weights {:.4f} GiB, activations at the largest step {:.4f} GiB, tables {:.4f} GiB, CUDA context "
      "{:.4f} GiB, CUDA graphs {:.4f} GiB",
      gib(memory.weights_bytes), gib(memory.activation_bytes), gib(memory.overhead_bytes - context_bytes - graph_bytes),
      gib(context_bytes), gib(graph_bytes));
}

std::string init_engine_line(double seconds) {
  return fmt::format("init engine (profile, create kv cache, warmup model) took {:.2f} seconds", seconds);
}

}  // namespace trimeter
