#include "model/forward.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.h"
#include "kernels/ops.h"
#include "model/rope_table.h"
#include "tensor/logits.h"

namespace trimeter {
namespace {

// A row of the piece: where it stands in its sequence.
struct Row {
  const int32_t* block_table;
  int32_t position;
};

// A call of the attention kernel costs about as much as this many tokens of context.
constexpr int64_t kAttentionCallTokens = 16;
// Rows whose activations are rounded or quantized as soon as they are computed: few enough for L2.
constexpr int64_t kRowsInCache = 8;

}  // namespace

struct Forward::Impl {
  Impl(const ModelWeights& model_weights, const EngineLimits& engine_limits, ThreadPool& thread_pool, Isa kernel_isa);

  void run_pieces(const StepBatch& batch, const KvView& kv, float* hidden, int n_layers, bool embed);
  void run_piece(const StepBatch& batch, int64_t begin, int64_t end, const KvView& kv, float* hidden, int n_layers,
                 bool embed);
  void locate_rows(const StepBatch& batch, int64_t begin, int64_t end);
  void share_attention();
  void take_inputs(int64_t n_rows);
  template <class Stages>
  void run_layer(int layer, float* x, Stages&& stages);

  void norm_and_prepare(int thread, const float* x, const std::vector<float>& g, const LinearWeight& linear,
                        const PreparedInput& prepared);
  void prepare(int thread, const LinearWeight& linear, const PreparedInput& prepared);
  void multiply(int thread, const LinearWeight& linear, const PreparedInput& x, bool accumulate, float* y);
  void rotate_and_cache(int thread, int layer);
  void attend(int thread, int layer);
  void activate(int thread, const LinearWeight& down, const PreparedInput& prepared);
  void compute_logits(std::span<const int32_t> rows, bool find_largest);
  void mark(int thread, Op op) {
    if (clock && thread == 0) clock->mark(op);
  }

  const ModelWeights& weights;
  const ModelSpec& spec;
  const EngineLimits limits;
  const ForwardScratch sizes;
  ThreadPool& pool;
  const Isa isa;
  Observer observer;
  OpClock* clock = nullptr;

  RopeTable rope_table;
  Arena arena;
  float *residual, *input, *projection, *logits;
  int64_t prepared_from;  // of the arena: what lies beyond is a piece's prepared inputs, one at a time
  struct LayerInputs {
    PreparedInput qkv, attention_out, gate_up, down;
  };
  std::vector<LayerInputs> inputs;  // of the piece; each linear's own, as layers may differ in their schemes

  // Of a thread's share of the vocabulary; the lowest token among equals, -1 if a logit is not finite.
  struct Largest {
    int32_t token;
    float logit;
  };
  std::vector<Largest> largest_of_shares;  // [rows, threads]
  std::vector<int32_t> largest;            // [rows]

  // The piece being computed.
  KvView kv;
  std::vector<Row> rows;
  std::vector<int64_t> attention_begin;  // [threads + 1]: thread t has the (row, KV head) pairs from [t] to [t + 1]
  int32_t n_rows_of_step = 0;
};

Forward::Impl::Impl(const ModelWeights& model_weights, const EngineLimits& engine_limits, ThreadPool& thread_pool,
                    Isa kernel_isa)
    : weights(model_weights),
      spec(model_weights.spec),
      limits(engine_limits),
      sizes(forward_scratch(spec, limits)),
      pool(thread_pool),
      isa(kernel_isa),
      rope_table(spec, limits.max_model_len),
      arena(activation_bytes(spec, weights.format, limits, isa), "activations") {
  residual = arena.take<float>(sizes.residual);
  input = arena.take<float>(sizes.input);
  projection = arena.take<float>(sizes.projection);
  logits = arena.take<float>(sizes.logits);
  prepared_from = arena.used_bytes();
  rows.reserve(static_cast<size_t>(sizes.piece_rows));
  inputs.resize(weights.layers.size());
  attention_begin.resize(static_cast<size_t>(pool.size()) + 1);
  largest.resize(static_cast<size_t>(limits.max_num_seqs));
  largest_of_shares.resize(largest.size() * static_cast<size_t>(pool.size()));
}

// Rows of the batch lie sequence after sequence; [begin, end) may start and end inside one.
void Forward::Impl::locate_rows(const StepBatch& batch, int64_t begin, int64_t end) {
  rows.clear();
  for (const StepSeq& seq : batch.seqs)
    for (int64_t row = std::max<int64_t>(begin, seq.row_begin);
         row < std::min<int64_t>(end, seq.row_begin + seq.n_rows); ++row) {
      const int32_t position = seq.n_context + static_cast<int32_t>(row) - seq.row_begin;
      TM_CHECK(row == begin + static_cast<int64_t>(rows.size()), "row {} of the step is out of order", row);
      TM_CHECK(position >= 0 && position < limits.max_model_len, "position {} of {}", position, limits.max_model_len);
      rows.push_back({seq.block_table, position});
    }
  TM_CHECK(static_cast<int64_t>(rows.size()) == end - begin, "{} of {} rows belong to a sequence", rows.size(),
           end - begin);
}

// Cuts the (row, KV head) pairs, in order, where the cost so far passes each thread's part of the whole.
void Forward::Impl::share_attention() {
  const int64_t n_threads = pool.size(), heads = spec.n_kv_heads;
  int64_t total = 0;
  for (const Row& row : rows) total += (row.position + 1 + kAttentionCallTokens) * heads;
  int64_t before = 0, thread = 0;
  for (size_t r = 0; r < rows.size(); ++r) {
    const int64_t cost = rows[r].position + 1 + kAttentionCallTokens;
    for (int64_t head = 0; head < heads; ++head, before += cost)
      while (thread <= n_threads && total * thread <= before * n_threads)
        attention_begin[static_cast<size_t>(thread++)] = static_cast<int64_t>(r) * heads + head;
  }
  while (thread <= n_threads)
    attention_begin[static_cast<size_t>(thread++)] = static_cast<int64_t>(rows.size()) * heads;
}

// All share one place: each is dead before the next is prepared.
void Forward::Impl::take_inputs(int64_t n_rows) {
  const auto take = [&](const LinearWeight& linear) {
    arena.reset(prepared_from);
    return linear.scheme->take_prepared(arena, n_rows, linear.spec.shape.in, isa);
  };
  for (size_t i = 0; i < inputs.size(); ++i) {
    const LayerWeights& layer = weights.layers[i];
    inputs[i] = {take(layer.qkv), take(layer.attention_out), take(layer.gate_up), take(layer.down)};
  }
}

void Forward::Impl::norm_and_prepare(int thread, const float* x, const std::vector<float>& g,
                                     const LinearWeight& linear, const PreparedInput& prepared) {
  const int64_t n = spec.hidden_size;
  const auto [begin, end] = pool.share(prepared.n_tokens, thread);
  for (int64_t first = begin; first < end; first += kRowsInCache) {
    const int64_t last = std::min(end, first + kRowsInCache);
    for (int64_t t = first; t < last; ++t) rms_norm(x + t * n, g.data(), spec.rms_norm_eps, n, input + t * n, isa);
    linear.scheme->prepare(linear.packed, input, first, last, prepared, isa);
  }
}

void Forward::Impl::prepare(int thread, const LinearWeight& linear, const PreparedInput& prepared) {
  const auto [begin, end] = pool.share(prepared.n_tokens, thread);
  if (begin < end) linear.scheme->prepare(linear.packed, input, begin, end, prepared, isa);
}

void Forward::Impl::multiply(int thread, const LinearWeight& linear, const PreparedInput& x, bool accumulate,
                             float* y) {
  const int64_t out = linear.spec.shape.out;
  const auto [begin, end] = pool.share(out, thread, kPanelRows);
  const float* bias = linear.bias.empty() ? nullptr : linear.bias.data();
  if (begin < end) linear.scheme->multiply(linear.packed, x, begin, end, bias, accumulate, y, out, isa);
}

void Forward::Impl::rotate_and_cache(int thread, int layer) {
  const int64_t d = spec.head_dim, n_rotated = spec.n_heads + spec.n_kv_heads;
  const int64_t width = (n_rotated + spec.n_kv_heads) * d, block_size = kv.layout.block_size;
  const auto [begin, end] = pool.share(static_cast<int64_t>(rows.size()), thread);
  for (int64_t r = begin; r < end; ++r) {
    const Row& row = rows[static_cast<size_t>(r)];
    float* q = projection + r * width;  // q heads, k heads, v heads
    const float* k = q + spec.n_heads * d;
    rope(q, n_rotated, d, rope_table.cos(row.position), rope_table.sin(row.position), isa);
    kv_write(kv, layer, row.block_table[row.position / block_size], row.position % block_size, k,
             k + spec.n_kv_heads * d, weights.layers[static_cast<size_t>(layer)].kv_scale, isa);
  }
}

void Forward::Impl::attend(int thread, int layer) {
  const int64_t d = spec.head_dim, heads = spec.n_kv_heads, group = spec.n_heads / heads;
  const int64_t width = (spec.n_heads + 2 * heads) * d;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  const KvScale kv_scale = weights.layers[static_cast<size_t>(layer)].kv_scale;
  const auto t = static_cast<size_t>(thread);
  for (int64_t pair = attention_begin[t]; pair < attention_begin[t + 1]; ++pair) {
    const int64_t r = pair / heads, head = pair % heads;
    const Row& row = rows[static_cast<size_t>(r)];
    attention(kv, layer, head, row.block_table, row.position + 1, projection + r * width + head * group * d, group,
              scale, kv_scale, input + (r * spec.n_heads + head * group) * d, isa);
  }
}

void Forward::Impl::activate(int thread, const LinearWeight& down, const PreparedInput& prepared_down) {
  const int64_t n = spec.intermediate_size;
  const auto [begin, end] = pool.share(static_cast<int64_t>(rows.size()), thread);
  for (int64_t first = begin; first < end; first += kRowsInCache) {
    const int64_t last = std::min(end, first + kRowsInCache);
    for (int64_t r = first; r < last; ++r) {
      const float* gate = projection + r * 2 * n;
      silu_mul(gate, gate + n, n, input + r * n, isa);
    }
    down.scheme->prepare(down.packed, input, first, last, prepared_down, isa);
  }
}

// Calls stages(op, stage), or stages(op, stage, &linear) where `stage` leaves that linear's float inputs in `input`.
// `stages` runs stage(thread) on the team and comes back when all of it is done.
template <class Stages>
void Forward::Impl::run_layer(int index, float* x, Stages&& stages) {
  const LayerWeights& layer = weights.layers[static_cast<size_t>(index)];
  const LayerInputs& in = inputs[static_cast<size_t>(index)];
  stages(
      Op::kNorm, [&](int t) { norm_and_prepare(t, x, layer.input_norm, layer.qkv, in.qkv); }, &layer.qkv);
  stages(Op::kQkv, [&](int t) { multiply(t, layer.qkv, in.qkv, false, projection); });
  stages(Op::kRopeAndCache, [&](int t) { rotate_and_cache(t, index); });
  stages(Op::kAttention, [&](int t) { attend(t, index); });
  stages(
      Op::kPrepare, [&](int t) { prepare(t, layer.attention_out, in.attention_out); }, &layer.attention_out);
  stages(Op::kAttentionOut, [&](int t) { multiply(t, layer.attention_out, in.attention_out, true, x); });
  stages(
      Op::kNorm, [&](int t) { norm_and_prepare(t, x, layer.post_attention_norm, layer.gate_up, in.gate_up); },
      &layer.gate_up);
  stages(Op::kGateUp, [&](int t) { multiply(t, layer.gate_up, in.gate_up, false, projection); });
  stages(
      Op::kActivate, [&](int t) { activate(t, layer.down, in.down); }, &layer.down);
  stages(Op::kDown, [&](int t) { multiply(t, layer.down, in.down, true, x); });
}

void Forward::Impl::run_piece(const StepBatch& batch, int64_t begin, int64_t end, const KvView& kv_of_step,
                              float* hidden, int n_layers, bool embed) {
  kv = kv_of_step;
  locate_rows(batch, begin, end);
  share_attention();
  take_inputs(end - begin);
  float* x = hidden + begin * spec.hidden_size;
  const auto embed_rows = [&](int thread) {
    const auto [first, last] = pool.share(end - begin, thread);
    for (int64_t r = first; r < last; ++r)
      weights.embed(batch.tokens[static_cast<size_t>(begin + r)], x + r * spec.hidden_size);
  };
  if (observer) {  // its callee may use the team itself, so each stage is a run of its own
    if (embed) pool.run(embed_rows);
    for (int layer = 0; layer < n_layers; ++layer)
      run_layer(layer, x, [&](Op, auto&& stage, const LinearWeight* next = nullptr) {
        pool.run(stage);
        if (next) observer(layer, next->spec.role, input, end - begin, next->spec.shape.in);
      });
    return;
  }
  pool.run([&](int thread) {
    if (embed) {
      embed_rows(thread);
      pool.barrier();
      mark(thread, Op::kEmbed);
    }
    for (int layer = 0; layer < n_layers; ++layer)
      run_layer(layer, x, [&](Op op, auto&& stage, const LinearWeight* = nullptr) {
        stage(thread);
        pool.barrier();
        mark(thread, op);
      });
  });
}

void Forward::Impl::run_pieces(const StepBatch& batch, const KvView& kv_of_step, float* hidden, int n_layers,
                               bool embed) {
  const auto n_rows = static_cast<int64_t>(batch.tokens.size());
  if (embed) {
    TM_CHECK(n_rows <= limits.max_num_batched_tokens, "{} rows of {}", n_rows, limits.max_num_batched_tokens);
    for (const int32_t token : batch.tokens)
      TM_CHECK(token >= 0 && token < spec.vocab_size, "token {} of {}", token, spec.vocab_size);
    n_rows_of_step = static_cast<int32_t>(n_rows);
  }
  for (int64_t begin = 0; begin < n_rows; begin += sizes.piece_rows)
    run_piece(batch, begin, std::min(begin + sizes.piece_rows, n_rows), kv_of_step, hidden, n_layers, embed);
}

Forward::Forward(const ModelWeights& weights, const EngineLimits& limits, ThreadPool& pool, Isa isa)
    : impl_(std::make_unique<Impl>(weights, limits, pool, isa)) {}
Forward::~Forward() = default;

void Forward::run(const StepBatch& batch, const KvView& kv) {
  impl_->run_pieces(batch, kv, impl_->residual, static_cast<int>(impl_->weights.layers.size()), true);
}

void Forward::run_first_layer(const StepBatch& batch, const KvView& kv) {
  impl_->run_pieces(batch, kv, impl_->residual, 1, true);
}

void Forward::run_layers(const StepBatch& batch, const KvView& kv, float* hidden) {
  impl_->run_pieces(batch, kv, hidden, static_cast<int>(impl_->weights.layers.size()), false);
}

void Forward::Impl::compute_logits(std::span<const int32_t> logit_rows, bool find_largest) {
  const auto n_rows = static_cast<int64_t>(logit_rows.size());
  TM_CHECK(n_rows <= limits.max_num_seqs, "logits of {} rows, at most {}", n_rows, limits.max_num_seqs);
  for (const int32_t row : logit_rows)
    TM_CHECK(row >= 0 && row < n_rows_of_step, "logits of row {} of {}", row, n_rows_of_step);
  const LinearWeight& head = weights.lm_head;
  const int64_t hidden = spec.hidden_size, vocab = spec.vocab_size;
  for (int64_t first = 0; first < n_rows; first += sizes.logit_rows) {
    const int64_t n = std::min(sizes.logit_rows, n_rows - first);
    arena.reset(prepared_from);
    const PreparedInput prepared = head.scheme->take_prepared(arena, n, hidden, isa);
    pool.run([&](int thread) {
      const auto [begin, end] = pool.share(n, thread);
      for (int64_t i = begin; i < end; ++i)
        rms_norm(residual + logit_rows[static_cast<size_t>(first + i)] * hidden, weights.final_norm.data(),
                 spec.rms_norm_eps, hidden, input + i * hidden, isa);
      prepare(thread, head, prepared);
      pool.barrier();
      mark(thread, Op::kNorm);
      multiply(thread, head, prepared, false, logits + first * vocab);
      if (!find_largest) return;
      pool.barrier();  // for the clock alone: a thread looks at what it wrote
      mark(thread, Op::kLmHead);
      const auto [share_begin, share_end] = pool.share(vocab, thread, kPanelRows);
      for (int64_t i = first; i < first + n; ++i) {
        const float* share = logits + i * vocab + share_begin;
        Largest& best = largest_of_shares[static_cast<size_t>(i * pool.size() + thread)];
        best = {0, -std::numeric_limits<float>::infinity()};  // of no logits: more threads than panels
        if (share_begin == share_end) continue;
        const int32_t at = argmax({share, static_cast<size_t>(share_end - share_begin)});
        best = at < 0 ? Largest{-1, 0} : Largest{static_cast<int32_t>(share_begin) + at, share[at]};
      }
    });
    mark(0, find_largest ? Op::kSampling : Op::kLmHead);
  }
}

std::span<const float> Forward::logits(std::span<const int32_t> rows) {
  impl_->compute_logits(rows, false);
  return {impl_->logits, rows.size() * static_cast<size_t>(impl_->spec.vocab_size)};
}

std::span<const int32_t> Forward::largest(std::span<const int32_t> rows) {
  Impl& f = *impl_;
  f.compute_logits(rows, true);
  const auto n_threads = static_cast<size_t>(f.pool.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    Impl::Largest best = f.largest_of_shares[i * n_threads];
    for (size_t t = 1; t < n_threads && best.token >= 0; ++t)
      if (const Impl::Largest other = f.largest_of_shares[i * n_threads + t];
          other.token < 0 || other.logit > best.logit)
        best = other;
    f.largest[i] = best.token;
  }
  return std::span(f.largest).first(rows.size());
}

int64_t Forward::activation_high_water_bytes() const { return impl_->arena.high_water_bytes(); }
int64_t Forward::rope_bytes() const { return impl_->rope_table.bytes(); }
void Forward::time_operations(OpClock* clock) { impl_->clock = clock; }
void Forward::observe(Observer observer) { impl_->observer = std::move(observer); }

}  // namespace trimeter
