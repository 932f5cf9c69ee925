#include "spec/ledger.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/error.h"
#include "base/integers.h"
#include "kernels/gpu_scratch.h"
#include "schemes/gpu_plan.h"

namespace trimeter {
namespace {

constexpr int64_t kF32Bytes = 4;

// Norms of one layer and of the model are [hidden]; biases [out].
int64_t norm_and_bias_elements(const ModelSpec& model) {
  int64_t per_layer = 2 * model.hidden_size;
  for (const LinearSpec& linear : model.linears_of_layer(0))
    if (linear.has_bias) per_layer += linear.shape.out;
  return model.n_layers * per_layer + model.hidden_size;
}

}  // namespace

DType dense_dtype(const ModelSpec& model, const Format& format) {
  if (format.algorithm == "none") {
    const DType activation = scheme(format.scheme).info().activation;
    if (activation == DType::kBF16 || activation == DType::kF16 || activation == DType::kF32) return activation;
  }
  return size_of(model.dtype) == 2 ? model.dtype : DType::kBF16;
}

const Scheme& dense_scheme(DType dtype) {
  static constexpr std::pair<DType, std::string_view> kNames[] = {
      {DType::kBF16, "bf16"}, {DType::kF16, "fp16"}, {DType::kF32, "fp32"}};
  for (const auto& [dense, scheme_name] : kNames)
    if (dense == dtype) return scheme(scheme_name);
  TM_CHECK(false, "no dense scheme of {}", name(dtype));
}

const Scheme& linear_scheme(const ModelSpec& model, const Format& format, const LinearSpec& linear) {
  if (!format.scheme_of_module.empty())
    if (const auto found = format.scheme_of_module.find(module_name(linear)); found != format.scheme_of_module.end())
      return scheme(found->second);
  return linear.role == LinearRole::kLmHead ? dense_scheme(dense_dtype(model, format)) : scheme(format.scheme);
}

std::set<std::string> schemes_of(const ModelSpec& model, const Format& format) {
  std::set<std::string> names;
  for (const LinearSpec& linear : model.linears()) names.emplace(linear_scheme(model, format, linear).info().name);
  names.emplace(linear_scheme(model, format, model.lm_head()).info().name);
  return names;
}

void check_format_fits(const ModelSpec& model, const Format& format, Target target) {
  std::vector<LinearSpec> linears = model.linears();
  linears.push_back(model.lm_head());
  for (const LinearSpec& linear : linears) {
    const Scheme& scheme = linear_scheme(model, format, linear);
    std::string reason = scheme.refuses(linear.shape);
    if (reason.empty() && target.is_gpu()) reason = gpu_refuses(scheme.info(), linear.shape, target.compute_capability);
    if (!reason.empty())
      throw Error(Errc::kUnsupported, "format {}: {} ({}): {}", format.name, name(linear.role), linear.parts[0].tensor,
                  reason);
  }
}

KvLayout kv_layout(const ModelSpec& model, const Format& format, int64_t block_size) {
  return {model.n_layers, model.n_kv_heads, model.head_dim, block_size,
          format.kv_dtype.value_or(dense_dtype(model, format))};
}

MemoryBreakdown weight_ledger(const ModelSpec& model, const Format& format) {
  MemoryBreakdown memory;
  for (const LinearSpec& linear : model.linears()) {
    const WeightBytes bytes = linear_scheme(model, format, linear).bytes(linear.shape);
    memory.linear_bytes += bytes.total();
    memory.scales_bytes += bytes.scales;
  }
  memory.embedding_bytes = linear_scheme(model, format, model.lm_head()).bytes(model.lm_head().shape).total();
  const auto embedding = format.scheme_of_module.find(std::string(kEmbeddingModule));
  if (!model.tie_word_embeddings && embedding != format.scheme_of_module.end())
    memory.embedding_bytes += scheme(embedding->second).bytes({model.vocab_size, model.hidden_size}).total();
  else if (!model.tie_word_embeddings)
    memory.embedding_bytes += model.vocab_size * model.hidden_size * size_of(dense_dtype(model, format));
  memory.norm_bytes = norm_and_bias_elements(model) * kF32Bytes;
  memory.weights_bytes = memory.linear_bytes + memory.embedding_bytes + memory.norm_bytes;
  return memory;
}

ForwardScratch forward_scratch(const ModelSpec& model, const EngineLimits& limits) {
  int64_t widest_in = 0, widest_out = 0;
  for (const LinearSpec& linear : model.linears_of_layer(0)) {
    widest_in = std::max(widest_in, linear.shape.in);
    widest_out = std::max(widest_out, linear.shape.out);
  }
  ForwardScratch scratch;
  scratch.piece_rows = std::min<int64_t>(kPieceRows, limits.max_num_batched_tokens);
  scratch.logit_rows = std::min<int64_t>(scratch.piece_rows, limits.max_num_seqs);
  scratch.residual = limits.max_num_batched_tokens * model.hidden_size;
  scratch.input = scratch.piece_rows * widest_in;
  scratch.projection = scratch.piece_rows * widest_out;
  scratch.logits = limits.max_num_seqs * model.vocab_size;
  return scratch;
}

GpuScratch gpu_scratch(const ModelSpec& model, const Format& format, const EngineLimits& limits,
                       int compute_capability) {
  constexpr int64_t kAligned = 256;
  const auto aligned = [](int64_t bytes) { return ceil_div(bytes, kAligned) * kAligned; };
  const int64_t n = limits.max_num_batched_tokens, s = limits.max_num_seqs;
  int64_t widest_out = 0;
  GpuScratch scratch;
  const auto add_linear = [&](const LinearSpec& linear, int64_t rows) {
    const SchemeInfo& scheme = linear_scheme(model, format, linear).info();
    scratch.values =
        std::max(scratch.values, aligned(gpu_input_bytes(scheme, compute_capability, rows, linear.shape.in)));
    scratch.scales =
        std::max(scratch.scales, aligned(gpu_input_scales_bytes(scheme, compute_capability, rows, linear.shape.in)));
    scratch.workspace = std::max(scratch.workspace,
                                 aligned(gpu_linear_workspace_bytes(scheme, compute_capability, linear.shape, rows)));
  };
  for (const LinearSpec& linear : model.linears()) {
    widest_out = std::max(widest_out, linear.shape.out);
    add_linear(linear, n);
  }
  add_linear(model.lm_head(), s);
  scratch.workspace =
      std::max(scratch.workspace, aligned(gpu_attention_workspace_bytes(s, model.n_heads, model.head_dim)));
  scratch.workspace += kGpuMatmulCounterBytes;
  scratch.residual = aligned(n * model.hidden_size * kF32Bytes);
  scratch.attention = aligned(n * model.n_heads * model.head_dim * kF32Bytes);
  scratch.projection = aligned(n * widest_out * kF32Bytes);
  scratch.logits = aligned(s * model.vocab_size * kF32Bytes);
  scratch.inputs = aligned((3 * n + 3 * s + 1) * int64_t{sizeof(int32_t)});
  scratch.draws = aligned(gpu_draw_bytes(s, model.vocab_size));
  return scratch;
}

int64_t activation_bytes(const ModelSpec& model, const Format& format, const EngineLimits& limits, Target target) {
  if (target.is_gpu()) return gpu_scratch(model, format, limits, target.compute_capability).total();
  const ForwardScratch scratch = forward_scratch(model, limits);
  int64_t prepared =
      linear_scheme(model, format, model.lm_head()).prepared_bytes(scratch.logit_rows, model.hidden_size, target.isa);
  for (const LinearSpec& linear : model.linears())
    prepared = std::max(
        prepared, linear_scheme(model, format, linear).prepared_bytes(scratch.piece_rows, linear.shape.in, target.isa));
  int64_t bytes = prepared;
  for (const int64_t elements : {scratch.residual, scratch.input, scratch.projection, scratch.logits})
    bytes += Arena::bytes_for(elements * kF32Bytes);
  return bytes;
}

std::vector<int64_t> gpu_graph_sizes(int64_t max_num_seqs) {
  const int64_t most = std::min(max_num_seqs, std::end(kGpuGraphRows)[-1]);
  std::vector<int64_t> sizes;
  for (const int64_t rows : kGpuGraphRows)
    if (rows < most) sizes.push_back(rows);
  sizes.push_back(most);
  return sizes;
}

std::optional<int64_t> gpu_graph_rows(int64_t n_rows, int64_t max_num_seqs) {
  for (const int64_t rows : gpu_graph_sizes(max_num_seqs))
    if (rows >= n_rows) return rows;
  return std::nullopt;
}

int64_t rope_table_bytes(const ModelSpec& model, const EngineLimits& limits) {
  return int64_t{2} * limits.max_model_len * (model.head_dim / 2) * kF32Bytes;
}

int64_t block_table_bytes(const EngineLimits& limits) {
  return limits.max_num_seqs * ceil_div(limits.max_model_len, limits.block_size) * int64_t{sizeof(int32_t)};
}

int64_t sampler_bytes(const ModelSpec& model) { return model.vocab_size * int64_t{sizeof(float) + sizeof(int32_t)}; }

int64_t overhead_bytes(const ModelSpec& model, const EngineLimits& limits, Target target) {
  return rope_table_bytes(model, limits) + block_table_bytes(limits) + (target.is_gpu() ? 0 : sampler_bytes(model));
}

int64_t kv_blocks(int64_t device_memory_bytes, double utilization, const MemoryBreakdown& memory, int64_t block_bytes) {
  const auto budget = static_cast<int64_t>(std::floor(static_cast<double>(device_memory_bytes) * utilization));
  const int64_t left = budget - memory.weights_bytes - memory.activation_bytes - memory.overhead_bytes;
  return left >= 0 ? left / block_bytes : -ceil_div(-left, block_bytes);
}

MemoryBreakdown memory_ledger(const ModelSpec& model, const Format& format, const EngineLimits& limits, Target target,
                              int64_t device_memory_bytes, double utilization, int64_t runtime_bytes) {
  MemoryBreakdown memory = weight_ledger(model, format);
  memory.activation_bytes = activation_bytes(model, format, limits, target);
  memory.overhead_bytes = overhead_bytes(model, limits, target) + runtime_bytes;
  const int64_t block_bytes = kv_layout(model, format, limits.block_size).block_bytes();
  memory.kv_bytes =
      std::max<int64_t>(0, kv_blocks(device_memory_bytes, utilization, memory, block_bytes)) * block_bytes;
  return memory;
}

}  // namespace trimeter
