#include "cost/step_time.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/integers.h"
#include "schemes/gpu_plan.h"

namespace trimeter {
namespace {

bool moves(const OpTime& op) { return op.bandwidth_s > op.arithmetic_s; }

const char* term_of(const OpTime& op) {
  const auto is = [&](LinearRole role) { return op.name == name(role); };
  if (is(LinearRole::kLmHead)) return moves(op) ? kLmHeadBandwidthTerm : kLmHeadArithmeticTerm;
  for (const LinearRole role : {LinearRole::kQkv, LinearRole::kAttentionOut, LinearRole::kGateUp, LinearRole::kDown})
    if (is(role)) return moves(op) ? kWeightsBandwidthTerm : kWeightsArithmeticTerm;
  return op.name == "attention" ? kAttentionTerm : kElementwiseTerm;
}

OpTime roofline(const OpCost& op, double bandwidth_s, double arithmetic_s, double overlap = 1) {
  const auto count = static_cast<double>(op.count);
  const double seconds = std::max(bandwidth_s, arithmetic_s) + (1 - overlap) * std::min(bandwidth_s, arithmetic_s);
  return {op.name, op.count, count * seconds, count * bandwidth_s, count * arithmetic_s};
}

}  // namespace

double StepTime::operations_s(Stage stage) const {
  double sum = 0;
  for (const OpTime& op : ops)
    if (op.stage == stage) sum += op.seconds;
  return sum;
}

StepTimer::StepTimer(const ModelSpec& model, const Format& format, const HardwareProfile& hardware, Target target,
                     int threads, int64_t max_num_seqs)
    : model_(model),
      format_(format),
      hardware_(hardware),
      target_(target),
      threads_(threads),
      max_num_seqs_(max_num_seqs),
      weights_bytes_(weight_ledger(model, format).weights_bytes),
      excess_(model, format, hardware, target) {
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
  double read_s = static_cast<double>(op.weight_bytes) / bytes_per_s;
  auto rows = static_cast<double>(op.shape.out);
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
    const int64_t waited_for = gpu_rows_waited_for(scheme(op.scheme).info(), op.shape, target_.compute_capability,
                                                   op.n_tokens, hardware_.n_multiprocessors);
    read_s *= static_cast<double>(waited_for) / rows;
    rows = static_cast<double>(waited_for);
  }
  const auto rate = hardware_.kernel_rate(op.scheme, name(target_), op.n_tokens);
  prepare_s =
      static_cast<double>(op.count * op.n_tokens * op.shape.in) * largest_share(op.n_tokens) * rate.seconds_per_input;
  if (!rate.found) {
    const double peak_of_thread = hardware_.rates.at(plan_on(scheme(op.scheme), target_).executed) / hardware_.threads;
    return roofline(op, read_s, op.flops / peak_of_thread * share);
  }
  const double multiply_s =
      rows * (static_cast<double>(op.shape.in) * rate.seconds_per_weight + rate.seconds_per_output);
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

std::optional<int64_t> StepTimer::graph_rows(const StepShape& step) const {
  if (!target_.is_gpu() || !std::ranges::all_of(step.seqs, [](const StepShape::Seq& seq) { return seq.n_new == 1; }))
    return std::nullopt;
  return gpu_graph_rows(std::ssize(step.seqs), max_num_seqs_);
}

double StepTimer::launching_s() const {
  return hardware_.launched_step_s + static_cast<double>(model_.n_layers) * launched_layer_s_;
}

// Where the operations are too many seconds, each is less by its share of it; what they lack is the overhead's, and
// comes back.
double StepTimer::take_excess(StepTime& step, Stage stage, double seconds) {
  if (seconds >= 0) return seconds;
  const double of_stage = step.operations_s(stage), share = of_stage > 0 ? std::max(0.0, 1 + seconds / of_stage) : 1;
  for (OpTime& op : step.ops)
    if (op.stage == stage) op.seconds *= share;
  return 0;
}

StepTime StepTimer::time(const StepShape& scheduled) const {
  StepShape step = scheduled;
  const std::optional<int64_t> padded_rows = graph_rows(step);
  if (padded_rows) {
    // A row of padding is at position -1: it has no context, and is not in the cache.
    step.n_logit_rows = *padded_rows;
    step.seqs.resize(static_cast<size_t>(*padded_rows), {.n_new = 1, .n_context = -1});
  }
  const double working_set =
      static_cast<double>(weights_bytes_) + static_cast<double>(model_.n_layers) * kv_bytes_of_layer(step);
  const double bytes_per_s = hardware_.read_bandwidth_bytes_per_s(threads_, static_cast<int64_t>(working_set));
  StepTime result;
  Stage stage = Stage::kBefore;
  int n_norms = 0;  // the ledger's entries: of the layers, then the final one
  const auto add = [&](OpTime op) {
    op.stage = stage;
    result.ops.push_back(std::move(op));
  };
  for (const OpCost& op : step_ledger(model_, format_, step, target_)) {
    if (op.name == "rms_norm") stage = ++n_norms == 1 ? Stage::kLayers : Stage::kHead;
    if (!op.scheme.empty()) {
      double prepare_s = 0;
      add(linear(op, bytes_per_s, prepare_s));
      add({"prepare " + op.name, op.count, prepare_s, 0, prepare_s});
    } else if (op.name == "attention") {
      add(attention(op, bytes_per_s, step));
    } else {
      add(elementwise(op));
    }
  }
  const double sampling_s =
      static_cast<double>(step.n_logit_rows * model_.vocab_size) * hardware_.sampling_seconds_per_logit / threads_;
  add({"sampling", 1, sampling_s, 0, sampling_s});
  const double barriers_s = threads_ > 1 ? kBarriersPerLayer * hardware_.barrier_s : 0;
  int64_t n_rows = 0;
  for (const StepShape::Seq& seq : step.seqs) n_rows += seq.n_new;
  const auto n_layers = static_cast<double>(model_.n_layers);
  result.overhead_s = hardware_.step_overhead_s_of(std::ssize(scheduled.seqs));
  if (const std::optional<double> excess = excess_.of_layer(n_rows, padded_rows.has_value()))
    result.layers_overhead_s = take_excess(result, Stage::kLayers, n_layers * *excess);
  else
    result.layers_overhead_s = n_layers * (hardware_.layer_overhead_s_of(n_rows) + barriers_s);
  if (step.n_logit_rows > 0)
    if (const std::optional<double> seconds = excess_.head_seconds(step.n_logit_rows))
      result.head_overhead_s = take_excess(result, Stage::kHead, *seconds - result.operations_s(Stage::kHead));
  result.overhead_s += result.layers_overhead_s + result.head_overhead_s;
  for (const OpTime& op : result.ops) {
    result.terms[term_of(op)] += op.seconds;
    (moves(op) ? result.bandwidth_s : result.arithmetic_s) += op.seconds;
    result.seconds += op.seconds;
  }
  if (target_.is_gpu() && !padded_rows)
    result.overhead_s += std::max(0.0, launching_s() - (result.seconds + result.overhead_s));
  result.terms[kOverheadTerm] += result.overhead_s;
  result.seconds += result.overhead_s;
  return result;
}

}  // namespace trimeter
