#include "lab/device_memory.h"

#include <algorithm>
#include <cmath>

#include "base/cpu.h"
#include "base/integers.h"
#include "spec/ledger.h"

namespace trimeter {

void fit_device_memory(EngineOptions& options, const ModelSpec& model, int n_sequences) {
  if (options.device_memory_bytes != 0) return;
  const Target target = engine_target(options);
  if (target.is_gpu()) return;
  const EngineLimits limits = engine_limits(options, model);
  const Format format = engine_format(options, model);
  const int64_t blocks = ceil_div(limits.max_model_len, limits.block_size);
  const int64_t needed = weight_ledger(model, format).weights_bytes + activation_bytes(model, format, limits, target) +
                         overhead_bytes(model, limits, target) +
                         n_sequences * blocks * kv_layout(model, format, limits.block_size).block_bytes();
  const auto device = static_cast<int64_t>(std::ceil(static_cast<double>(needed) / options.utilization)) + 1;
  options.device_memory_bytes = std::min(device, device_budget(options).device_memory_bytes);
}

}  // namespace trimeter
