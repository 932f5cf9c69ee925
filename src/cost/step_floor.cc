#include "cost/step_floor.h"

#include <algorithm>

#include "base/error.h"
#include "schemes/gpu_plan.h"

namespace trimeter {
namespace {

constexpr const char* kAttention = "attention";  // the ledger's name

// As the kernels compute it, whatever the cache is held in.
const char* attention_arithmetic(Target target) { return target.is_gpu() ? "bf16" : "fp32"; }

double rate_of(const HardwareProfile& hardware, const std::string& arithmetic) {
  const auto rate = hardware.rates.find(arithmetic);
  if (rate == hardware.rates.end())
    throw Error(Errc::kBadArgument, "hardware profile {}: wanted a rate of {} arithmetic, got none", hardware.name,
                arithmetic);
  return rate->second;
}

OpFloor& of(std::vector<OpFloor>& ops, const std::string& name) {
  const auto found = std::ranges::find(ops, name, &OpFloor::name);
  return found != ops.end() ? *found : ops.emplace_back(OpFloor{.name = name});
}

void add(std::vector<OpFloor>& sum, const std::vector<OpFloor>& ops) {
  for (const OpFloor& op : ops) {
    OpFloor& total = of(sum, op.name);
    total.bytes += op.bytes;
    total.operations += op.operations;
    total.bandwidth_s += op.bandwidth_s;
    total.arithmetic_s += op.arithmetic_s;
  }
}

}  // namespace

StepFloor step_floor(const ModelSpec& model, const Format& format, const HardwareProfile& hardware, Target target,
                     const StepShape& step) {
  StepFloor floor;
  for (const OpCost& op : step_ledger(model, format, step, target)) {
    const auto count = static_cast<double>(op.count);
    const bool is_linear = !op.scheme.empty(), is_attention = op.name == kAttention;
    OpFloor& of_op = of(floor.ops, op.name);
    // The context is read once: a chunk's tokens find it in cache. Attention's own bytes are of every token apart.
    if (!is_attention) of_op.bytes += count * static_cast<double>(op.weight_bytes + op.kv_bytes);
    if (!is_linear && !is_attention) continue;
    of_op.operations += count * op.flops;
    of_op.arithmetic_s +=
        count * op.flops /
        rate_of(hardware, is_linear ? plan_on(scheme(op.scheme), target).executed : attention_arithmetic(target));
  }
  const int64_t token_bytes = kv_layout(model, format, kKvRun).block_bytes() / kKvRun;
  for (const StepShape::Seq& seq : step.seqs)
    of(floor.ops, kAttention).bytes += static_cast<double>(seq.n_context * token_bytes);
  for (const OpFloor& op : floor.ops) floor.bytes += op.bytes;
  const auto working_set = static_cast<double>(weight_ledger(model, format).weights_bytes) + floor.bytes;
  const double bytes_per_s = hardware.read_bandwidth_bytes_per_s(hardware.threads, static_cast<int64_t>(working_set));
  floor.bandwidth_s = floor.bytes / bytes_per_s;
  for (OpFloor& op : floor.ops) {
    op.bandwidth_s = op.bytes / bytes_per_s;
    floor.operations += op.operations;
    floor.arithmetic_s += op.arithmetic_s;
  }
  return floor;
}

WorkloadFloor workload_floor(const ModelSpec& model, const Format& format, const HardwareProfile& hardware,
                             Target target, const EngineLimits& limits, int64_t batch, int64_t prompt_tokens,
                             int64_t max_tokens) {
  WorkloadFloor workload;
  RecordFloor& result = workload.record;
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
    add(workload.prompt, floor.ops);
    result.prompt_bytes += floor.bytes;
    result.prompt_operations += floor.operations;
    result.prompt_binds = floor.binds();
  }
  result.prompt_tokens_per_s = static_cast<double>(total) / prompt_s;
  if (max_tokens < 2) return workload;
  StepShape step;
  step.seqs.assign(static_cast<size_t>(batch), {1, prompt_tokens + (max_tokens - 1) / 2});
  step.n_logit_rows = batch;
  const StepFloor floor = step_floor(model, format, hardware, target, step);
  result.decode_tokens_per_s = static_cast<double>(batch) / floor.seconds();
  result.decode_bytes = floor.bytes;
  result.decode_operations = floor.operations;
  result.decode_binds = floor.binds();
  workload.decode = floor.ops;
  return workload;
}

}  // namespace trimeter
