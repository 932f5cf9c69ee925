#include "engine/startup_log.h"

#include <fmt/format.h>

#include <algorithm>

namespace trimeter {
namespace {

double gib(int64_t bytes) { return static_cast<double>(bytes) / (1 << 30); }

// 12345678 -> "12,345,678"
std::string grouped(int64_t n) {
  std::string digits = std::to_string(n);
  for (auto at = static_cast<int64_t>(digits.size()) - 3; at > 0; at -= 3)
    digits.insert(static_cast<size_t>(at), 1, ',');
  return digits;
}

}  // namespace

std::string model_loading_line(int64_t weights_bytes, double seconds) {
  return fmt::format("Model loading took {:.4f} GiB memory and {:.6f} seconds", gib(weights_bytes), seconds);
}

std::vector<std::string> kernel_lines_by_kernel(const std::vector<std::string>& lines_by_role) {
  std::vector<std::pair<std::string, std::string>> roles_of;  // what follows the role, and the roles it follows
  for (const std::string& line : lines_by_role) {
    const size_t colon = line.find(": ");
    const std::string role = line.substr(0, colon), rest = line.substr(colon + 2);
    const auto at = std::find_if(roles_of.begin(), roles_of.end(), [&](const auto& r) { return r.first == rest; });
    if (at == roles_of.end())
      roles_of.emplace_back(rest, role);
    else
      at->second += ", " + role;
  }
  std::vector<std::string> lines;
  for (const auto& [rest, roles] : roles_of) {
    const size_t colon = rest.find(": ");
    lines.push_back(fmt::format("Using {} for {}: {}", rest.substr(0, colon), roles, rest.substr(colon + 2)));
  }
  return lines;
}

std::vector<std::string> kv_cache_lines(const EngineInfo& info) {
  const int64_t blocks_of_longest = (info.max_model_len + info.block_size - 1) / info.block_size;
  return {fmt::format("Available KV cache memory: {:.4f} GiB", gib(info.memory.kv_bytes)),
          fmt::format("CPU KV cache size: {} tokens", grouped(info.kv_blocks * info.block_size)),
          fmt::format("# CPU blocks: {}", info.kv_blocks),
          fmt::format("Maximum concurrency for {} tokens per request: {:.2f}x", grouped(info.max_model_len),
                      static_cast<double>(info.kv_blocks) / static_cast<double>(blocks_of_longest))};
}

std::string init_engine_line(double seconds) {
  return fmt::format("init engine (profile, create kv cache, warmup model) took {:.2f} seconds", seconds);
}

}  // namespace trimeter
