#include "cost/predict.h"

#include <algorithm>

#include "base/stats.h"
#include "cost/schedule.h"
#include "cost/step_time.h"
#include "schemes/gpu_plan.h"
#include "spec/memory_fit.h"

namespace trimeter {
namespace {

struct Totals {
  double seconds = 0, prompt_s = 0, decode_s = 0;
  double bandwidth_s = 0, arithmetic_s = 0, overhead_s = 0;
  int64_t n_generated = 0, n_decoded = 0;
};

MemoryBreakdown memory_or_refuse(const PredictInput& in, int64_t& n_blocks) {
  const MemoryBreakdown memory = memory_ledger(in.model, in.format, in.limits, in.target, in.device_memory_bytes,
                                               in.utilization, in.runtime_bytes);
  const int64_t block_bytes = kv_layout(in.model, in.format, in.limits.block_size).block_bytes();
  n_blocks = blocks_that_fit("format " + in.format.name, {in.device_memory_bytes, in.utilization}, memory, in.limits,
                             block_bytes);
  return memory;
}

std::string largest_share(const Totals& totals, bool limited_by_blocks) {
  if (limited_by_blocks) return "capacity";
  if (totals.bandwidth_s >= std::max(totals.arithmetic_s, totals.overhead_s)) return "bandwidth";
  return totals.arithmetic_s >= totals.overhead_s ? "arithmetic" : "overhead";
}

}  // namespace

RecordPredicted predict(const PredictInput& in) {
  RecordPredicted predicted;
  predicted.memory = memory_or_refuse(in, predicted.kv_blocks);
  const Schedule schedule = simulate_schedule(in.workload, in.limits, predicted.kv_blocks);
  const StepTimer timer(in.model, in.format, in.hardware, in.target, in.threads, in.limits.max_num_seqs);

  Totals totals;
  std::vector<double> last_token_s(in.workload.prompt_tokens.size(), -1), ttft_s, itl_s;
  for (const ScheduledStep& step : schedule.steps) {
    const StepTime time = timer.time(step.shape);
    totals.seconds += time.seconds;
    (step.n_prompt_tokens > 0 ? totals.prompt_s : totals.decode_s) += time.seconds;
    totals.bandwidth_s += time.bandwidth_s;
    totals.arithmetic_s += time.arithmetic_s;
    totals.overhead_s += time.overhead_s;
    for (const auto& [term, seconds] : time.terms) predicted.terms[term] += seconds;
    for (size_t i = 0; i < step.requests.size(); ++i) {
      if (!step.emits[i]) continue;
      double& last = last_token_s[static_cast<size_t>(step.requests[i])];
      if (last < 0)
        ttft_s.push_back(totals.seconds);
      else
        itl_s.push_back(totals.seconds - last);
      last = totals.seconds;
      ++totals.n_generated;
      if (step.n_prompt_tokens == 0) ++totals.n_decoded;
    }
  }
  int64_t n_prompt_tokens = 0;
  for (const int64_t n : in.workload.prompt_tokens) n_prompt_tokens += n;
  const auto per_s = [](int64_t n, double seconds) { return seconds > 0 ? static_cast<double>(n) / seconds : 0; };
  predicted.generation_tokens_per_s = per_s(totals.n_generated, totals.seconds);
  predicted.decode_tokens_per_s = per_s(totals.n_decoded, totals.decode_s);
  predicted.prompt_tokens_per_s = per_s(n_prompt_tokens, totals.prompt_s);
  if (!ttft_s.empty()) predicted.ttft_s = median(ttft_s);
  if (!itl_s.empty()) predicted.itl_s = median(itl_s);
  predicted.binds = largest_share(totals, schedule.limited_by_blocks);
  predicted.executed = plan_on(scheme(in.format.scheme), in.target).executed;
  return predicted;
}

}  // namespace trimeter
