#include "model/cuda/forward.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/integers.h"
#include "kernels/gpu_scratch.h"
#include "model/rope_table.h"

namespace trimeter::cuda {
namespace {

template <class T>
T* take(std::byte*& at, int64_t bytes) {
  return reinterpret_cast<T*>(std::exchange(at, at + bytes));
}

void to_device(const void* from, void* to, int64_t bytes, const Stream& stream) {
  TM_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, stream.get()));
}
void to_host(const void* from, void* to, int64_t bytes, const Stream& stream) {
  TM_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, stream.get()));
}

}  // namespace

CudaForward::CudaForward(const DeviceWeights& weights, const EngineLimits& limits)
    : weights_(weights),
      spec_(weights.spec),
      limits_(limits),
      sizes_(gpu_scratch(spec_, weights.format, limits, weights.compute_capability)),
      rope_(rope_table_bytes(spec_, limits), "rope tables"),
      tables_(block_table_bytes(limits), "block tables"),
      scratch_(sizes_.total(), "activations"),
      table_stride_(ceil_div(limits.max_model_len, limits.block_size)),
      host_inputs_(sizes_.inputs, "inputs of a step"),
      host_tables_(tables_.size(), "block tables"),
      host_draw_room_(sizes_.draws, "draws") {
  const RopeTable rope(spec_, limits.max_model_len);
  to_device(rope.cos(0), rope_.data(), rope_.size(), stream_);
  cos_ = rope_.as<float>();
  sin_ = cos_ + limits.max_model_len * (spec_.head_dim / 2);
  std::byte* at = scratch_.data();
  residual_ = take<float>(at, sizes_.residual);
  attention_ = take<float>(at, sizes_.attention);
  projection_ = take<float>(at, sizes_.projection);
  values_ = take<std::byte>(at, sizes_.values);
  scales_ = take<float>(at, sizes_.scales);
  logits_ = take<float>(at, sizes_.logits);
  workspace_ = take<std::byte>(at, sizes_.workspace);
  device_ = batch_in(take<int32_t>(at, sizes_.inputs));
  host_ = batch_in(host_inputs_.as<int32_t>());
  device_draws_ = draws_in(take<std::byte>(at, sizes_.draws));
  host_draws_ = draws_in(host_draw_room_.data());
  rows_of_logits_.reserve(static_cast<size_t>(limits_.max_num_seqs));
  std::memset(host_tables_.data(), 0, static_cast<size_t>(host_tables_.size()));
  TM_CUDA_CHECK(cudaMemsetAsync(tables_.data(), 0, static_cast<size_t>(tables_.size()), stream_.get()));
  TM_CUDA_CHECK(cudaMemsetAsync(workspace_, 0, kGpuMatmulCounterBytes, stream_.get()));
  stream_.synchronize();
}

CudaForward::Batch CudaForward::batch_in(int32_t* inputs) const {
  const int64_t n = limits_.max_num_batched_tokens, s = limits_.max_num_seqs;
  return {inputs, inputs + n, inputs + 2 * n, inputs + 3 * n, inputs + 3 * n + s + 1, inputs + 3 * n + 2 * s + 1};
}

CudaForward::Draws CudaForward::draws_in(std::byte* room) const {
  const int64_t s = limits_.max_num_seqs;
  Draws draws{};
  draws.rows = take<DrawRow>(room, s * static_cast<int64_t>(sizeof(DrawRow)));
  draws.logprob_rows = take<LogprobRow>(room, s * static_cast<int64_t>(sizeof(LogprobRow)));
  draws.logprobs = take<DrawLogprob>(room, s * (kMostDrawLogprobs + 1) * static_cast<int64_t>(sizeof(DrawLogprob)));
  draws.seen = take<uint32_t>(room, s * draw_seen_words(spec_.vocab_size) * static_cast<int64_t>(sizeof(uint32_t)));
  return draws;
}

bool CudaForward::is_decode(const StepBatch& batch) const {
  return batch.seqs.size() == batch.tokens.size() &&
         gpu_graph_rows(std::ssize(batch.seqs), limits_.max_num_seqs).has_value();
}

// Fills the host's side. Rows beyond the batch's are padding: sequences of their own, at position -1.
void CudaForward::describe(const StepBatch& batch, int64_t n_padded) {
  uploaded_.synchronize();  // what is there may still be on its way
  int64_t row = 0, widest = 0;
  bool tables_changed = false;
  for (size_t s = 0; s < batch.seqs.size(); ++s) {
    const StepSeq& seq = batch.seqs[s];
    TM_CHECK(seq.row_begin == row, "sequence {} of the step begins at row {}, wanted {}", s, seq.row_begin, row);
    const int32_t length = seq.n_context + seq.n_rows;
    TM_CHECK(seq.n_context >= 0 && length <= limits_.max_model_len, "{} tokens of {}", length, limits_.max_model_len);
    TM_CHECK(seq.n_rows > 0, "sequence {} of the step has no row", s);
    host_.row_begin[s] = seq.row_begin;
    for (int32_t i = 0; i < seq.n_rows; ++i, ++row) {
      host_.tokens[row] = batch.tokens[static_cast<size_t>(row)];
      host_.positions[row] = seq.n_context + i;
      host_.seq_of_row[row] = static_cast<int32_t>(s);
    }
    const int64_t n_blocks = ceil_div(length, limits_.block_size);
    int32_t* table = host_tables_.as<int32_t>() + static_cast<int64_t>(s) * table_stride_;
    const size_t table_bytes = static_cast<size_t>(n_blocks) * sizeof(int32_t);
    if (std::memcmp(table, seq.block_table, table_bytes) != 0) {
      std::memcpy(table, seq.block_table, table_bytes);
      tables_changed = true;
    }
    widest = std::max(widest, n_blocks);
  }
  TM_CHECK(row == static_cast<int64_t>(batch.tokens.size()), "{} of {} rows belong to a sequence", row,
           batch.tokens.size());
  const auto n_seqs = static_cast<int64_t>(batch.seqs.size());
  for (int64_t i = 0; row + i < n_padded; ++i) {
    host_.tokens[row + i] = 0;
    host_.positions[row + i] = -1;
    host_.seq_of_row[row + i] = static_cast<int32_t>(n_seqs + i);
    host_.row_begin[n_seqs + i] = static_cast<int32_t>(row + i);
  }
  host_.row_begin[n_seqs + n_padded - row] = static_cast<int32_t>(n_padded);
  if (!tables_changed) return;
  // Of short tables all at once: each row of a copy in two dimensions is a transfer of its own.
  constexpr int64_t kFewBytes = int64_t{256} << 10;
  if (const int64_t bytes = n_seqs * table_stride_ * static_cast<int64_t>(sizeof(int32_t)); bytes <= kFewBytes)
    return to_device(host_tables_.data(), tables_.data(), bytes, stream_);
  const size_t pitch = static_cast<size_t>(table_stride_) * sizeof(int32_t);
  TM_CUDA_CHECK(cudaMemcpy2DAsync(tables_.data(), pitch, host_tables_.data(), pitch,
                                  static_cast<size_t>(widest) * sizeof(int32_t), static_cast<size_t>(n_seqs),
                                  cudaMemcpyHostToDevice, stream_.get()));
}

// All that a step may have, in one copy: several small ones would take longer.
void CudaForward::upload() {
  const int64_t n = 3 * limits_.max_num_batched_tokens + limits_.max_num_seqs + 1;
  to_device(host_.tokens, device_.tokens, n * static_cast<int64_t>(sizeof(int32_t)), stream_);
  uploaded_.record(stream_);
}

StepView CudaForward::view_of(int64_t n_rows, int64_t n_seqs, int64_t max_rows_per_seq, int64_t max_context) const {
  return {.n_rows = n_rows,
          .n_seqs = n_seqs,
          .positions = device_.positions,
          .seq_of_row = device_.seq_of_row,
          .row_begin = device_.row_begin,
          .block_tables = tables_.as<int32_t>(),
          .table_stride = table_stride_,
          .max_rows_per_seq = max_rows_per_seq,
          .max_context = max_context};
}

void CudaForward::run(const StepBatch& batch, const KvView& kv) {
  const auto n_rows = static_cast<int64_t>(batch.tokens.size());
  TM_CHECK(n_rows <= limits_.max_num_batched_tokens, "{} rows of {}", n_rows, limits_.max_num_batched_tokens);
  for (const int32_t token : batch.tokens)
    TM_CHECK(token >= 0 && token < spec_.vocab_size, "token {} of {}", token, spec_.vocab_size);
  n_rows_ = n_rows;
  rows_of_logits_.clear();
  logits_of_all_rows_ = is_decode(batch);
  if (logits_of_all_rows_) {
    const int64_t n_padded = *gpu_graph_rows(n_rows, limits_.max_num_seqs);
    const StepGraph& graph = graph_for(n_padded, kv);
    describe(batch, n_padded);
    upload();
    graph.launch(stream_);
    return;
  }
  int64_t max_rows = 1, max_context = 1;
  for (const StepSeq& seq : batch.seqs) {
    max_rows = std::max<int64_t>(max_rows, seq.n_rows);
    max_context = std::max<int64_t>(max_context, seq.n_context + seq.n_rows);
  }
  const auto n_seqs = static_cast<int64_t>(batch.seqs.size());
  describe(batch, n_rows);
  upload();
  StepView view = view_of(n_rows, n_seqs, max_rows, max_context);
  view.any_of_one_row = std::ranges::any_of(batch.seqs, [](const StepSeq& seq) { return seq.n_rows == 1; });
  enqueue_embedding(view);
  enqueue_layers(0, n_layers(), view, kv);
}

void CudaForward::enqueue_embedding(const StepView& step) {
  embed(weights_.embedding_rows(), dense_dtype(spec_, weights_.format), device_.tokens, step.n_rows, spec_.hidden_size,
        residual_, stream_.get());
}
void CudaForward::enqueue_layers(int begin, int end, const StepView& step, const KvView& kv) {
  for (int layer = begin; layer < end; ++layer) enqueue_layer(layer, step, kv);
}

DeviceInput CudaForward::input_of(const DeviceLinearWeight& weight, int64_t n_rows) const {
  DeviceInput x = weight.linear->input(n_rows);
  x.values = values_;
  x.scales = scales_;
  return x;
}

DeviceInput CudaForward::norm(const DeviceLinearWeight& weight, const DeviceBuffer& gain, const int32_t* rows,
                              int64_t n_rows) {
  DeviceInput x = input_of(weight, n_rows);
  if (weight.linear->takes_raw(x))
    x.raw = {residual_, rows, gain.as<float>(), static_cast<float>(spec_.rms_norm_eps)};
  else
    rms_norm_prepare(residual_, rows, gain.as<float>(), spec_.rms_norm_eps, x, stream_.get());
  return x;
}

void CudaForward::multiply(const DeviceLinearWeight& weight, const DeviceInput& x, bool accumulate, float* y) {
  weight.linear->multiply(x, weight.bias.as<float>(), accumulate, y, weight.linear->shape().out, workspace_,
                          sizes_.workspace, stream_.get());
}

void CudaForward::enqueue_layer(int index, const StepView& step, const KvView& kv) {
  const DeviceLayer& layer = weights_.layers[static_cast<size_t>(index)];
  const int64_t n = step.n_rows;
  const cudaStream_t stream = stream_.get();

  DeviceInput x = norm(layer.qkv, layer.input_norm, nullptr, n);
  multiply(layer.qkv, x, false, projection_);
  x = input_of(layer.attention_out, n);
  // Floats are what attention makes itself; codes are made of them.
  DeviceInput made = x;
  if (has_scales(x.form) && layer.attention_out.linear->takes_raw(x)) {
    x.raw.x = attention_;
    made.form = InputForm::kF32;
    made.values = attention_;
  }
  const AttentionRoom room{reinterpret_cast<unsigned*>(workspace_), workspace_ + kGpuMatmulCounterBytes};
  rope_attention_prepare(projection_, spec_.n_heads, cos_, sin_, step, kv, index, layer.kv_scale, attention_, room,
                         made, stream);
  multiply(layer.attention_out, x, true, residual_);

  x = norm(layer.gate_up, layer.post_attention_norm, nullptr, n);
  DeviceInput activated = input_of(layer.down, n);
  if (layer.gate_up.linear->makes_silu_mul(n, activated)) {
    // gate_up's input lies in values_ where it is not raw.
    activated.values = projection_;
    layer.gate_up.linear->multiply_silu_mul(x, layer.gate_up.bias.as<float>(), activated, workspace_, sizes_.workspace,
                                            stream);
  } else {
    multiply(layer.gate_up, x, false, projection_);
    silu_mul_prepare(projection_, activated, stream);
  }
  multiply(layer.down, activated, true, residual_);
}

void CudaForward::enqueue_logits(const int32_t* rows, int64_t n_rows) {
  const DeviceInput x = norm(weights_.lm_head, weights_.final_norm, rows, n_rows);
  multiply(weights_.lm_head, x, false, logits_);
  argmax(logits_, n_rows, spec_.vocab_size, device_.largest, stream_.get());
}

// A graph holds the cache's address: they are recorded anew when it has moved.
CudaForward::StepGraph& CudaForward::graph_for(int64_t n_rows, const KvView& kv) {
  if (graphs_kv_ != kv.blocks) graphs_.clear();
  graphs_kv_ = kv.blocks;
  StepGraph& graph = graphs_[n_rows];
  if (!graph.rest.empty()) return graph;
  // Launching a graph takes the host 0.3 us a kernel or so, a few layers' kernels take the card longer.
  const int first_layers = std::min(3, n_layers() / 2);
  const StepView view = view_of(n_rows, n_rows, 1, limits_.max_model_len);
  const auto first = [&] {
    enqueue_embedding(view);
    enqueue_layers(0, first_layers, view, kv);
  };
  const auto rest = [&] {
    enqueue_layers(first_layers, n_layers(), view, kv);
    enqueue_logits(nullptr, n_rows);
  };
  // Once without recording, all rows padding: modules are loaded at a kernel's first launch, which can't be recorded.
  describe({}, n_rows);
  upload();
  first();
  rest();
  stream_.synchronize();
  graph.first.capture(stream_, first);
  graph.rest.capture(stream_, rest);
  return graph;
}

void CudaForward::record_graphs(const KvView& kv) {
  const int64_t before = device_memory().free_bytes;
  for (const int64_t n_rows : gpu_graph_sizes(limits_.max_num_seqs)) graph_for(n_rows, kv).launch(stream_);
  stream_.synchronize();
  graph_bytes_ += before - device_memory().free_bytes;
}

// Again what is there already costs nothing: some of the rows whose tokens were drawn may be asked for, too.
void CudaForward::have_logits(std::span<const int32_t> rows) {
  TM_CHECK(static_cast<int64_t>(rows.size()) <= limits_.max_num_seqs, "logits of {} rows, at most {}", rows.size(),
           limits_.max_num_seqs);
  for (const int32_t row : rows) TM_CHECK(row >= 0 && row < n_rows_, "logits of row {} of {}", row, n_rows_);
  if (logits_of_all_rows_ || std::ranges::all_of(rows, [&](int32_t row) { return logit_row(row) >= 0; })) return;
  uploaded_.synchronize();
  rows_of_logits_.assign(rows.begin(), rows.end());
  std::ranges::copy(rows, host_.logit_rows);
  to_device(host_.logit_rows, device_.logit_rows, static_cast<int64_t>(rows.size_bytes()), stream_);
  uploaded_.record(stream_);
  enqueue_logits(device_.logit_rows, static_cast<int64_t>(rows.size()));
}

int64_t CudaForward::logit_row(int32_t row) const {
  if (logits_of_all_rows_) return row;
  const auto at = std::ranges::lower_bound(rows_of_logits_, row);
  return at != rows_of_logits_.end() && *at == row ? at - rows_of_logits_.begin() : -1;
}

std::span<const float> CudaForward::logits(std::span<const int32_t> rows) {
  const int64_t row_bytes = spec_.vocab_size * static_cast<int64_t>(sizeof(float));
  if (host_logits_.size() == 0) host_logits_ = PinnedBuffer(limits_.max_num_seqs * row_bytes, "logits");
  have_logits(rows);
  if (std::ranges::equal(rows, rows_of_logits_))
    to_host(logits_, host_logits_.data(), static_cast<int64_t>(rows.size()) * row_bytes, stream_);
  else
    for (size_t i = 0; i < rows.size(); ++i)
      to_host(logits_ + logit_row(rows[i]) * spec_.vocab_size,
              host_logits_.data() + static_cast<int64_t>(i) * row_bytes, row_bytes, stream_);
  stream_.synchronize();
  return {host_logits_.as<float>(), rows.size() * static_cast<size_t>(spec_.vocab_size)};
}

// Where the largest of each row lies already. The last draw() has waited for its copies, so that the host's side may be
// filled.
void CudaForward::enqueue_draws(std::span<const int32_t> rows, std::span<const RowDraw> draws) {
  const int64_t vocab = spec_.vocab_size, n_words = draw_seen_words(vocab);
  int64_t n_draws = 0, n_seen = 0, n_logprobs = 0;
  for (size_t i = 0; i < draws.size(); ++i) {
    const auto row = static_cast<int32_t>(logit_row(rows[i]));
    DrawRow draw = draws[i].parameters;
    draw.row = row;
    draw.seen = -1;
    if (draw.penalty != 1) {
      uint32_t* bits = host_draws_.seen + n_seen * n_words;
      std::fill_n(bits, n_words, 0u);
      for (const int32_t token : draws[i].penalised) bits[token / 32] |= 1u << (token % 32);
      draw.seen = static_cast<int32_t>(n_seen++);
    }
    if (draw.temperature > 0 || draw.penalty != 1) host_draws_.rows[n_draws++] = draw;
    if (draws[i].n_logprobs >= 0) host_draws_.logprob_rows[n_logprobs++] = {row, draws[i].n_logprobs};
  }
  const auto upload_of = [&](auto* from, auto* to, int64_t n) {
    if (n > 0) to_device(from, to, n * static_cast<int64_t>(sizeof *from), stream_);
  };
  upload_of(host_draws_.rows, device_draws_.rows, n_draws);
  upload_of(host_draws_.seen, device_draws_.seen, n_seen * n_words);
  upload_of(host_draws_.logprob_rows, device_draws_.logprob_rows, n_logprobs);
  if (n_draws > 0)
    cuda::draw(logits_, vocab, device_draws_.rows, n_draws, device_draws_.seen, device_.largest, stream_.get());
  if (n_logprobs > 0) {
    draw_logprobs(logits_, vocab, device_draws_.logprob_rows, n_logprobs, device_.largest, device_draws_.logprobs,
                  stream_.get());
    to_host(device_draws_.logprobs, host_draws_.logprobs,
            n_logprobs * (kMostDrawLogprobs + 1) * static_cast<int64_t>(sizeof(DrawLogprob)), stream_);
  }
}

std::span<const int32_t> CudaForward::draw(std::span<const int32_t> rows, std::span<const RowDraw> draws) {
  TM_CHECK(draws.empty() || draws.size() == rows.size(), "{} draws from {} rows", draws.size(), rows.size());
  have_logits(rows);
  enqueue_draws(rows, draws);
  const auto n = logits_of_all_rows_ ? n_rows_ : std::ssize(rows_of_logits_);
  to_host(device_.largest, host_.largest, n * static_cast<int64_t>(sizeof(int32_t)), stream_);
  stream_.synchronize();
  if (logits_of_all_rows_ || !std::ranges::equal(rows, rows_of_logits_))
    // In place: rows ascend, so that none is overwritten before it is read.
    for (size_t i = 0; i < rows.size(); ++i) host_.largest[i] = host_.largest[logit_row(rows[i])];
  return {host_.largest, rows.size()};
}

}  // namespace trimeter::cuda
