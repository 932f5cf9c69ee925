#include "spec/memory_fit.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/integers.h"

namespace trimeter {
namespace {

std::string mib(int64_t bytes) { return fmt::format("{:.2f} MiB", static_cast<double>(bytes) / (1 << 20)); }

}  // namespace

int64_t blocks_that_fit(const std::string& what, const DeviceBudget& budget, const MemoryBreakdown& memory,
                        const EngineLimits& limits, int64_t block_bytes) {
  const int64_t n_fit = kv_blocks(budget.device_memory_bytes, budget.utilization, memory, block_bytes);
  const int64_t n_wanted = ceil_div(limits.max_model_len, limits.block_size);
  if (n_fit >= n_wanted) return n_fit;

  const int64_t wanted =
      memory.weights_bytes + memory.activation_bytes + memory.overhead_bytes + n_wanted * block_bytes;
  const auto usable =
      static_cast<int64_t>(std::floor(static_cast<double>(budget.device_memory_bytes) * budget.utilization));
  // Rounded up to a whole 0.01 MiB, so that the printed figure is enough.
  const double enough_mib = std::ceil(static_cast<double>(wanted) / budget.utilization / (1 << 20) * 100) / 100;
  const std::string shorter =
      n_fit > 0 ? fmt::format(", or a max_model_len of at most {}", n_fit * limits.block_size) : std::string();
  throw Error(
      Errc::kNoMemory,
      "device memory {} x utilization {:.2f} = {} is too small for {}: weights {} (linear {}, embedding and "
      "lm_head {}, norms and biases {}) + activations {} + overhead {} + KV cache for one sequence of {} tokens "
      "{} ({} blocks of {} bytes) = {}; {} are missing: wanted a device memory of at least {:.2f} MiB{}",
      mib(budget.device_memory_bytes), budget.utilization, mib(usable), what, mib(memory.weights_bytes),
      mib(memory.linear_bytes), mib(memory.embedding_bytes), mib(memory.norm_bytes), mib(memory.activation_bytes),
      mib(memory.overhead_bytes), limits.max_model_len, mib(n_wanted * block_bytes), n_wanted, block_bytes, mib(wanted),
      mib(wanted - usable), enough_mib, shorter);
}

}  // namespace trimeter
