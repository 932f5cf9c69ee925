#include <limits>
#include <map>

#include "spec/ledger.h"

namespace trimeter {
namespace {

constexpr int64_t kF32Bytes = 4;

OpCost linear_cost(const LinearSpec& linear, const Scheme& scheme, int64_t n_tokens, int64_t count) {
  OpCost cost;
  cost.name = name(linear.role);
  cost.count = count;
  cost.weight_bytes = scheme.bytes(linear.shape).total() + (linear.has_bias ? linear.shape.out * kF32Bytes : 0);
  cost.activation_bytes = n_tokens * (linear.shape.in + linear.shape.out) * kF32Bytes;
  cost.flops = 2.0 * static_cast<double>(n_tokens) * static_cast<double>(linear.shape.out * linear.shape.in);
  cost.scheme = scheme.info().name;
  cost.shape = linear.shape;
  cost.n_tokens = n_tokens;
  return cost;
}

void add_linear(std::vector<OpCost>& ops, const LinearSpec& linear, const Scheme& scheme, int64_t n_tokens,
                int64_t per_step, int64_t piece) {
  const int64_t whole = n_tokens / piece, rest = n_tokens % piece;
  if (whole > 0) ops.push_back(linear_cost(linear, scheme, piece, per_step * whole));
  if (rest > 0) ops.push_back(linear_cost(linear, scheme, rest, per_step));
}

// One entry for the layers whose linear of a role has the same scheme.
void add_layers(std::vector<OpCost>& ops, const ModelSpec& model, const Format& format, int64_t n_tokens,
                int64_t piece) {
  for (LinearSpec& linear : model.linears_of_layer(0)) {
    std::map<std::string_view, int64_t> n_layers;  // of a scheme
    if (format.scheme_of_module.empty())
      n_layers[linear_scheme(model, format, linear).info().name] = model.n_layers;
    else
      for (linear.layer = 0; linear.layer < model.n_layers; ++linear.layer)
        ++n_layers[linear_scheme(model, format, linear).info().name];
    for (const auto& [scheme_name, count] : n_layers)
      add_linear(ops, linear, scheme(scheme_name), n_tokens, count, piece);
  }
}

OpCost elementwise_cost(std::string op_name, int64_t count, int64_t n_tokens, int64_t activation_bytes, double flops) {
  OpCost cost;
  cost.name = std::move(op_name);
  cost.count = count;
  cost.activation_bytes = activation_bytes;
  cost.flops = flops;
  cost.n_tokens = n_tokens;
  return cost;
}

// Sum over new tokens of the tokens each one sees, itself included.
int64_t visible_tokens(const StepShape& step) {
  int64_t visible = 0;
  for (const StepShape::Seq& seq : step.seqs) visible += seq.n_new * seq.n_context + seq.n_new * (seq.n_new + 1) / 2;
  return visible;
}

}  // namespace

int64_t piece_rows(Target target) { return target.is_gpu() ? std::numeric_limits<int64_t>::max() : kPieceRows; }

std::vector<OpCost> step_ledger(const ModelSpec& model, const Format& format, const StepShape& step, Target target) {
  int64_t n = 0;
  for (const StepShape::Seq& seq : step.seqs) n += seq.n_new;
  const int64_t layers = model.n_layers, hidden = model.hidden_size, inter = model.intermediate_size;
  const int64_t q_width = model.n_heads * model.head_dim, kv_width = 2 * model.n_kv_heads * model.head_dim;
  const int64_t dense_bytes = size_of(dense_dtype(model, format));
  const int64_t kv_bytes = kv_layout(model, format, kKvRun).block_bytes() / (kKvRun * layers);  // of a token and layer
  const int64_t visible = visible_tokens(step);
  const auto as_flops = [](int64_t operations) { return static_cast<double>(operations); };

  std::vector<OpCost> ops;
  ops.push_back(elementwise_cost("embed", 1, n, n * hidden * (dense_bytes + kF32Bytes), 0));
  const int64_t norm_bytes = n * hidden * 2 * kF32Bytes;
  ops.push_back(elementwise_cost("rms_norm", 2 * layers, n, norm_bytes, as_flops(n * hidden * 4)));
  const int64_t rope_elements = n * (q_width + kv_width / 2);
  ops.push_back(elementwise_cost("rope", layers, n, rope_elements * 2 * kF32Bytes, as_flops(rope_elements * 3)));
  ops.push_back(elementwise_cost("kv_write", layers, n, n * kv_width * kF32Bytes, 0));
  ops.back().kv_bytes = n * kv_bytes;
  ops.push_back(elementwise_cost("attention", layers, n, n * q_width * 2 * kF32Bytes,
                                 4.0 * static_cast<double>(visible) * static_cast<double>(q_width)));
  ops.back().kv_bytes = visible * kv_bytes;
  ops.push_back(elementwise_cost("silu_mul", layers, n, n * inter * 3 * kF32Bytes, as_flops(n * inter * 5)));
  add_layers(ops, model, format, n, piece_rows(target));
  if (step.n_logit_rows > 0) {
    const int64_t rows = step.n_logit_rows;
    ops.push_back(elementwise_cost("rms_norm", 1, rows, rows * hidden * 2 * kF32Bytes, as_flops(rows * hidden * 4)));
    add_linear(ops, model.lm_head(), linear_scheme(model, format, model.lm_head()), rows, 1, piece_rows(target));
  }
  return ops;
}

}  // namespace trimeter
