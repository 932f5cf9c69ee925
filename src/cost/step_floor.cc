#include "cost/step_floor.h"

#include <algorithm>

#include "base/error.h"
#include "schemes/gpu_plan.h"

namespace trimeter {
namespace {

// As the kernels compute it, whatever the cache is held in.
const char* attention_arithmetic(Target target) { return target.is_gpu() ? "bf16" : "fp32"; }

double rate_of(const HardwareProfile& hardware, const std::string& arithmetic) {
  const auto rate = hardware.rates.find(arithmetic);
  if (rate == hardware.rates.end())
    throw Error(Errc::kBadArgument, "hardware profile {}: wanted a rate of {} arithmetic, got none", hardware.name,
                arithmetic);
  return rate->second;
}

}  // namespace

StepFloor step_floor(const ModelSpec& model, const Format& format, const HardwareProfile& hardware, Target target,
                     const StepShape& step) {
  StepFloor floor;
  for (const OpCost& op : step_ledger(model, format, step, target)) {
    const auto count = static_cast<double>(op.count);
    const bool is_linear = !op.scheme.empty(), is_attention = op.name == "attention";
    // The context is read once: a chunk's tokens find it in cache. Attention's own bytes are of every token apart.
    if (!is_attention) floor.bytes += count * static_cast<double>(op.weight_bytes + op.kv_bytes);
    if (!is_linear && !is_attention) continue;
    floor.operations += count * op.flops;
    floor.arithmetic_s +=
        count * op.flops /
        rate_of(hardware, is_linear ? plan_on(scheme(op.scheme), target).executed : attention_arithmetic(target));
  }
  const int64_t token_bytes = kv_layout(model, format, kKvRun).block_bytes() / kKvRun;
  for (const StepShape::Seq& seq : step.seqs) floor.bytes += static_cast<double>(seq.n_context * token_bytes);
  const auto working_set = static_cast<double>(weight_ledger(model, format).weights_bytes) + floor.bytes;
  floor.bandwidth_s =
      floor.bytes / hardware.read_bandwidth_bytes_per_s(hardware.threads, static_cast<int64_t>(working_set));
  return floor;
}

RecordFloor workload_floor(const ModelSpec& model, const Format& format, const HardwareProfile& hardware, Target target,
                           const EngineLimits& limits, int64_t batch, int64_t prompt_tokens, int64_t max_tokens) {
  RecordFloor result;
  result.read_bandwidth_bytes_per_s =
      hardware.read_bandwidth_bytes_per_s(hardware.threads, weight_ledger(model, format).weights_bytes);
  double prompt_s = 0;
  const auto total = batch * prompt_tokens;
  for (int64_t begin = 0; begin < total; begin += limits.max_num_batched_tokens) {
    StepShape step;
    const int64_t end = std::min<int64_t>(begin + limits.max_num_batched_tokens, total);
    for (int64_t token = begin; token < end;) {
      const int64_t context = token % prompt_tokens, n = std::min(prompt_tokens - context, end - token);
      step.seqs.push_back({n, context});
      if (context + n == prompt_tokens) ++step.n_logit_rows;
      token += n;
    }
    const StepFloor floor = step_floor(model, format, hardware, target, step);
    prompt_s += floor.seconds();
    result.prompt_bytes += floor.bytes;
    result.prompt_operations += floor.operations;
    result.prompt_binds = floor.binds();
  }
  result.prompt_tokens_per_s = static_cast<double>(total) / prompt_s;
  if (max_tokens < 2) return result;
  StepShape step;
  step.seqs.assign(static_cast<size_t>(batch), {1, prompt_tokens + (max_tokens - 1) / 2});
  step.n_logit_rows = batch;
  const StepFloor floor = step_floor(model, format, hardware, target, step);
  result.decode_tokens_per_s = static_cast<double>(batch) / floor.seconds();
  result.decode_bytes = floor.bytes;
  result.decode_operations = floor.operations;
  result.decode_binds = floor.binds();
  return result;
}

}  // namespace trimeter
