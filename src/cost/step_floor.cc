#include "cost/step_floor.h"

#include <algorithm>

#include "base/error.h"
#include "base/integers.h"
#include "cost/schedule.h"
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

// Of several steps.
struct Sum {
  std::vector<OpFloor> ops;
  double seconds = 0, bandwidth_s = 0, arithmetic_s = 0, bytes = 0, operations = 0;
  int64_t n_steps = 0, n_tokens = 0;  // tokens: of prompts, or generated

  void add(const StepFloor& step, int64_t tokens) {
    seconds += step.seconds();
    bandwidth_s += step.bandwidth_s;
    arithmetic_s += step.arithmetic_s;
    bytes += step.bytes;
    operations += step.operations;
    ++n_steps;
    n_tokens += tokens;
    for (const OpFloor& op : step.ops) {
      OpFloor& total = of(ops, op.name);
      total.bytes += op.bytes;
      total.operations += op.operations;
      total.bandwidth_s += op.bandwidth_s;
      total.arithmetic_s += op.arithmetic_s;
    }
  }
  double tokens_per_s() const { return static_cast<double>(n_tokens) / seconds; }
  const char* binds() const { return bandwidth_s > arithmetic_s ? "bandwidth" : "arithmetic"; }
};

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
  const Workload requests{std::vector<int64_t>(static_cast<size_t>(batch), prompt_tokens), max_tokens};
  const int64_t n_blocks = batch * ceil_div(prompt_tokens + max_tokens, limits.block_size);
  Sum prompt, decode;
  for (const ScheduledStep& step : simulate_schedule(requests, limits, n_blocks).steps) {
    const StepFloor floor = step_floor(model, format, hardware, target, step.shape);
    if (step.n_prompt_tokens > 0)
      prompt.add(floor, step.n_prompt_tokens);
    else
      decode.add(floor, step.shape.n_logit_rows);
  }
  result.prompt_tokens_per_s = prompt.tokens_per_s();
  result.prompt_bytes = prompt.bytes;
  result.prompt_operations = prompt.operations;
  result.prompt_binds = prompt.binds();
  workload.prompt = std::move(prompt.ops);
  if (decode.n_steps == 0) return workload;
  const auto n_steps = static_cast<double>(decode.n_steps);
  result.decode_tokens_per_s = decode.tokens_per_s();
  result.decode_tokens = static_cast<double>(decode.n_tokens) / n_steps;
  result.decode_bytes = decode.bytes / n_steps;
  result.decode_operations = decode.operations / n_steps;
  result.decode_binds = decode.binds();
  workload.decode = std::move(decode.ops);
  for (OpFloor& op : workload.decode)
    for (double* part : {&op.bytes, &op.operations, &op.bandwidth_s, &op.arithmetic_s}) *part /= n_steps;
  return workload;
}

}  // namespace trimeter
