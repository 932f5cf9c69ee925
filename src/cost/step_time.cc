#include "cost/step_time.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/integers.h"
#include "schemes/gpu_plan.h"

namespace trimeter {
namespace {

void add(StepTime& step, OpTime op, const char* bandwidth_term, const char* arithmetic_term) {
  const bool moves = op.bandwidth_s > op.arithmetic_s;
  step.terms[moves ? bandwidth_term : arithmetic_term] += op.seconds;
  (moves ? step.bandwidth_s : step.arithmetic_s) += op.seconds;
  step.seconds += op.seconds;
  step.ops.push_back(std::move(op));
}

OpTime roofline(const OpCost& op, double bandwidth_s, double arithmetic_s, double overlap = 1) {
  const auto count = static_cast<double>(op.count);
  const double seconds = std::max(bandwidth_s, arithmetic_s) + (1 - overlap) * std::min(bandwidth_s, arithmetic_s);
  return {op.name, op.count, count * seconds, count * bandwidth_s, count * arithmetic_s};
}

}  // namespace

StepTimer::StepTimer(const ModelSpec& model, const Format& format, const HardwareProfile& hardware, Target target,
                     int threads)
    : model_(model),
      format_(format),
      hardware_(hardware),
      target_(target),
      threads_(threads),
      weights_bytes_(weight_ledger(model, format).weights_bytes) {
  for (const OpCost& op : step_ledger(model, format, {.seqs = {{1, 0}}, .n_logit_rows = 1}, target)) {
    if (op.scheme.empty() || hardware.kernel_rate(op.scheme, name(target), 1).found) continue;
    const KernelPlan plan = plan_on(scheme(op.scheme), target);
    if (hardware.rates.count(plan.executed) == 0)
      throw Error(Errc::kBadArgument,
                  "hardware profile {}: format {} needs a rate of kernel {} or of {} arithmetic, got neither",
                  hardware.name, format.name, plan.kernel, plan.executed);
  }
  const auto launched = hardware.launched_layers.find(
      std::string(linear_scheme(model, format, model.linears_of_layer(0)[0]).info().name));
  launched_layer_s_ = launched != hardware.launched_layers.end() ? launched->second : hardware.launched_layer_s;
  if (hardware.attention_seconds_per_kv_element.empty()) return;  // a datasheet: attention is bound by its bytes
  const std::string kv_dtype(name(kv_layout(model, format, kKvRun).dtype));
  const auto found = hardware.attention_seconds_per_kv_element.find(kv_dtype);
  if (found == hardware.attention_seconds_per_kv_element.end())
    throw Error(Errc::kBadArgument, "hardware profile {}: format {} needs attention_seconds_per_kv_element of {}",
                hardware.name, format.name, kv_dtype);
  kv_element_s_ = found->second;
}

// The part of n_units that the busiest thread gets.
double StepTimer::largest_share(int64_t n_units) const {
  if (n_units == 0) return 0;
  return static_cast<double>((n_units + threads_ - 1) / threads_) / static_cast<double>(n_units);
}

// Read from memory once: the tokens of one chunk find their sequence's K and V in cache.
double StepTimer::kv_bytes_of_layer(const StepShape& step) const {
  int64_t n_cached = 0;
  for (const StepShape::Seq& seq : step.seqs) n_cached += seq.n_context + seq.n_new;
  return static_cast<double>(n_cached * kv_layout(model_, format_, kKvRun).block_bytes() / (kKvRun * model_.n_layers));
}

OpTime StepTimer::linear(const OpCost& op, double bytes_per_s, double& prepare_s) const {
  const double read_s = static_cast<double>(op.weight_bytes) / bytes_per_s;
  const double share = largest_share((op.shape.out + kPanelRows - 1) / kPanelRows);
  if (target_.is_gpu()) {
    const int64_t at_once =
        gpu_tokens_at_once(scheme(op.scheme).info(), op.shape, target_.compute_capability, op.n_tokens);
    if (at_once < op.n_tokens) {
      OpCost part = op;
      part.count *= ceil_div(op.n_tokens, at_once);
      part.n_tokens = at_once;
      part.flops *= static_cast<double>(at_once) / static_cast<double>(op.n_tokens);
      return linear(part, bytes_per_s, prepare_s);
    }
  }
  const auto rate = hardware_.kernel_rate(op.scheme, name(target_), op.n_tokens);
  prepare_s =
      static_cast<double>(op.count * op.n_tokens * op.shape.in) * largest_share(op.n_tokens) * rate.seconds_per_input;
  if (!rate.found) {
    const double peak_of_thread = hardware_.rates.at(plan_on(scheme(op.scheme), target_).executed) / hardware_.threads;
    return roofline(op, read_s, op.flops / peak_of_thread * share);
  }
  const double multiply_s = static_cast<double>(op.shape.out) *
                            (static_cast<double>(op.shape.in) * rate.seconds_per_weight + rate.seconds_per_output);
  return roofline(op, read_s, multiply_s * share + rate.seconds_per_call, rate.overlap);
}

OpTime StepTimer::attention(const OpCost& op, double bytes_per_s, const StepShape& step) const {
  double n_visible = 0;
  int64_t n_tokens = 0;
  for (const StepShape::Seq& seq : step.seqs) {
    n_visible +=
        static_cast<double>(seq.n_new) * (static_cast<double>(seq.n_context) + static_cast<double>(seq.n_new + 1) / 2);
    n_tokens += seq.n_new;
  }
  const auto group = static_cast<double>(model_.n_heads / model_.n_kv_heads);
  const double per_element = kv_element_s_ + group * hardware_.attention_seconds_per_query_element;
  const auto n_pairs = static_cast<double>(n_tokens * model_.n_kv_heads);
  const double kernel_s = n_pairs * hardware_.attention_seconds_per_call +
                          n_visible * static_cast<double>(model_.n_kv_heads * model_.head_dim) * per_element;
  return roofline(op, kv_bytes_of_layer(step) / bytes_per_s, kernel_s * largest_share(n_tokens * model_.n_kv_heads));
}

OpTime StepTimer::elementwise(const OpCost& op) const {
  const auto bytes = static_cast<double>(op.activation_bytes);
  const auto rate = hardware_.elementwise_seconds_per_byte.find(op.name);
  if (rate != hardware_.elementwise_seconds_per_byte.end())
    return roofline(op, 0, bytes * rate->second * largest_share(op.n_tokens));
  return roofline(op, bytes / hardware_.read_bandwidth_bytes_per_s(threads_, op.activation_bytes), 0);
}

bool StepTimer::is_graph(const StepShape& step) const {
  return target_.is_gpu() && std::ssize(step.seqs) <= std::end(kGpuGraphRows)[-1] &&
         std::ranges::all_of(step.seqs, [](const StepShape::Seq& seq) { return seq.n_new == 1; });
}

// 0 where one launch is all.
double StepTimer::launching_s(const StepShape& step) const {
  if (!target_.is_gpu() || is_graph(step)) return 0;
  return hardware_.launched_step_s + static_cast<double>(model_.n_layers) * launched_layer_s_;
}

StepTime StepTimer::time(const StepShape& scheduled) const {
  StepShape step = scheduled;
  if (is_graph(step)) {
    // A row of padding is at position -1: it has no context, and is not in the cache.
    step.n_logit_rows = gpu_graph_rows(std::ssize(step.seqs));
    step.seqs.resize(static_cast<size_t>(step.n_logit_rows), {.n_new = 1, .n_context = -1});
  }
  const double working_set =
      static_cast<double>(weights_bytes_) + static_cast<double>(model_.n_layers) * kv_bytes_of_layer(step);
  const double bytes_per_s = hardware_.read_bandwidth_bytes_per_s(threads_, static_cast<int64_t>(working_set));
  StepTime result;
  for (const OpCost& op : step_ledger(model_, format_, step, target_)) {
    if (!op.scheme.empty()) {
      const bool is_head = op.name == name(LinearRole::kLmHead);
      double prepare_s = 0;
      add(result, linear(op, bytes_per_s, prepare_s), is_head ? kLmHeadBandwidthTerm : kWeightsBandwidthTerm,
          is_head ? kLmHeadArithmeticTerm : kWeightsArithmeticTerm);
      add(result, {"prepare " + op.name, op.count, prepare_s, 0, prepare_s}, kElementwiseTerm, kElementwiseTerm);
    } else if (op.name == "attention") {
      add(result, attention(op, bytes_per_s, step), kAttentionTerm, kAttentionTerm);
    } else {
      add(result, elementwise(op), kElementwiseTerm, kElementwiseTerm);
    }
  }
  const double sampling_s =
      static_cast<double>(step.n_logit_rows * model_.vocab_size) * hardware_.sampling_seconds_per_logit / threads_;
  add(result, {"sampling", 1, sampling_s, 0, sampling_s}, kElementwiseTerm, kElementwiseTerm);
  const double barriers_s = threads_ > 1 ? kBarriersPerLayer * hardware_.barrier_s : 0;
  int64_t n_rows = 0;
  for (const StepShape::Seq& seq : step.seqs) n_rows += seq.n_new;
  result.overhead_s = hardware_.step_overhead_s +
                      static_cast<double>(model_.n_layers) * (hardware_.layer_overhead_s_of(n_rows) + barriers_s);
  result.overhead_s += std::max(0.0, launching_s(step) - (result.seconds + result.overhead_s));
  result.terms[kOverheadTerm] += result.overhead_s;
  result.seconds += result.overhead_s;
  return result;
}

}  // namespace trimeter
