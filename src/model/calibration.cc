#include "model/calibration.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "model/float_tensor.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr int32_t kBlockSize = 16;

void check_calibration(const std::vector<std::vector<int32_t>>& sequences, const ModelSpec& spec) {
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t length = static_cast<int64_t>(sequences[i].size());
    if (length > spec.max_position_embeddings)
      throw Error(Errc::kBadArgument, "calibration: sequence {}: wanted at most {} tokens, got {}", i,
                  spec.max_position_embeddings, length);
    for (const int32_t token : sequences[i])
      if (token < 0 || token >= spec.vocab_size)
        throw Error(Errc::kBadArgument, "calibration: sequence {}: wanted tokens below {}, got {}", i, spec.vocab_size,
                    token);
  }
}

float amax_of(const std::byte* data, DType dtype, int64_t n) {
  std::vector<float> values(n);
  floats_from(data, dtype, n, values.data());
  float amax = 0;
  for (const float value : values) amax = std::max(amax, std::fabs(value));
  return amax;
}

}  // namespace

Calibration::Calibration(const ModelSpec& spec, Format format, const std::vector<std::vector<int32_t>>& sequences,
                         ThreadPool& pool)
    : pool_(pool) {
  check_calibration(sequences, spec);
  EngineLimits limits{.max_model_len = 0, .max_num_seqs = 1, .block_size = kBlockSize};
  for (const auto& sequence : sequences) {
    const auto length = static_cast<int32_t>(sequence.size());
    if (length == 0) continue;
    seqs_.push_back({.row_begin = static_cast<int32_t>(tokens_.size()), .n_rows = length});
    tokens_.insert(tokens_.end(), sequence.begin(), sequence.end());
    limits.max_model_len = std::max(limits.max_model_len, length);
    for (int32_t token = 0; token < length; token += kBlockSize)
      block_table_.push_back(static_cast<int32_t>(block_table_.size()));
  }
  const int32_t* table = block_table_.data();
  for (StepSeq& seq : seqs_) {
    seq.block_table = table;
    table += (seq.n_rows + kBlockSize - 1) / kBlockSize;
  }
  limits.max_num_batched_tokens = static_cast<int32_t>(std::min<int64_t>(kPieceRows, std::ssize(tokens_)));

  format.kv_dtype = std::nullopt;
  model_.spec = spec;  // its scratch is that of the widest layer
  model_.format = std::move(format);
  model_.layers.resize(1);
  layout_ = kv_layout(spec, model_.format, kBlockSize);
  layout_.n_layers = 1;
  blocks_ = Buffer(std::ssize(block_table_) * layout_.block_bytes(), "calibration KV cache");
  forward_ = std::make_unique<Forward>(model_, limits, pool, active_isa());
  hidden_.resize(std::ssize(tokens_) * spec.hidden_size);
}

Calibration::Calibration(const Checkpoint& checkpoint, const ModelSpec& spec,
                         const std::vector<std::vector<int32_t>>& sequences, bool with_gram, ThreadPool& pool)
    : Calibration(spec, format(dense_scheme(spec.dtype).info().name), sequences, pool) {
  forward_->observe([this, with_gram](int, LinearRole role, const float* x, int64_t n_tokens, int64_t in) {
    auto found = statistics_.find(role);
    if (found == statistics_.end())
      found = statistics_.emplace(role, with_gram ? InputStatistics(in) : InputStatistics::without_gram(in)).first;
    found->second.add(x, n_tokens, pool_);
  });
  embed(checkpoint, spec);
}

Calibration::Calibration(const ModelWeights& model, const std::vector<std::vector<int32_t>>& sequences,
                         ThreadPool& pool)
    : Calibration(model.spec, model.format, sequences, pool) {
  for (int64_t row = 0; row < std::ssize(tokens_); ++row)
    model.embed(tokens_[row], &hidden_[row * model.spec.hidden_size]);
}

void Calibration::embed(const Checkpoint& checkpoint, const ModelSpec& spec) {
  const int64_t shape[] = {spec.vocab_size, spec.hidden_size};
  const TensorView& table = checkpoint.at("model.embed_tokens.weight", shape);
  check_floats(table, pool_);
  for (int64_t row = 0; row < std::ssize(tokens_); ++row)
    floats_from(table.bytes.data() + tokens_[row] * spec.hidden_size * size_of(table.dtype), table.dtype,
                spec.hidden_size, &hidden_[row * spec.hidden_size]);
  release(table);
}

void Calibration::run(LayerWeights layer) {
  model_.layers[0] = std::move(layer);
  statistics_.clear();
  forward_->run_layers({.tokens = tokens_, .seqs = seqs_}, kv(), hidden_.data());
}

// Slots of a last block that no token has filled are zero since the buffer was taken.
KvScale Calibration::kv_scale() const {
  const int64_t n = layout_.half_bytes() / size_of(layout_.dtype);
  float k_amax = 0, v_amax = 0;
  for (const int32_t block : block_table_)
    for (int64_t head = 0; head < layout_.n_kv_heads; ++head) {
      k_amax = std::max(k_amax, amax_of(blocks_.data() + layout_.k_offset(block, 0, head), layout_.dtype, n));
      v_amax = std::max(v_amax, amax_of(blocks_.data() + layout_.v_offset(block, 0, head), layout_.dtype, n));
    }
  const auto scale = [](float amax) { return amax > 0 ? amax / kE4M3Max : 1.0f; };
  return {scale(k_amax), scale(v_amax)};
}

void calibrate_kv_cache(ModelWeights& model, const LoadOptions& options, ThreadPool& pool) {
  if (!has_tokens(options.calibration))
    throw Error(Errc::kBadArgument, "calibration: {} needs token sequences, got none", model.format.name);
  Calibration calibration(model, options.calibration, pool);
  const auto n_layers = static_cast<int>(model.layers.size());
  for (int i = 0; i < n_layers; ++i) {
    calibration.run(std::move(model.layers[i]));
    model.layers[i] = calibration.take_layer();
    model.layers[i].kv_scale = calibration.kv_scale();
    if (options.on_progress) options.on_progress("kv-fp8", i + 1, n_layers);
  }
}

bool has_tokens(const std::vector<std::vector<int32_t>>& sequences) {
  return std::ranges::any_of(sequences, [](const auto& sequence) { return !sequence.empty(); });
}

}  // namespace trimeter
