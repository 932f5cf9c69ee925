#include "model/quantize.h"

#include <algorithm>
#include <map>

#include "algorithms/awq.h"
#include "base/error.h"
#include "base/log.h"
#include "model/float_tensor.h"
#include "model/forward.h"

namespace trimeter {
namespace {

constexpr int32_t kBlockSize = 16;

void check_calibration(const std::vector<std::vector<int32_t>>& sequences, const ModelSpec& spec) {
  int64_t n_tokens = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const int64_t length = static_cast<int64_t>(sequences[i].size());
    if (length > spec.max_position_embeddings)
      throw Error(Errc::kBadArgument, "calibration: sequence {}: wanted at most {} tokens, got {}", i,
                  spec.max_position_embeddings, length);
    for (const int32_t token : sequences[i])
      if (token < 0 || token >= spec.vocab_size)
        throw Error(Errc::kBadArgument, "calibration: sequence {}: wanted tokens below {}, got {}", i, spec.vocab_size,
                    token);
    n_tokens += length;
  }
  if (n_tokens == 0) throw Error(Errc::kBadArgument, "calibration: awq needs token sequences, got none");
}

// The calibration tokens on their way through the unquantized model, one layer at a time.
class Calibration {
 public:
  Calibration(const Checkpoint& checkpoint, const ModelSpec& spec, const std::vector<std::vector<int32_t>>& sequences,
              ThreadPool& pool);

  // Moves the tokens through `layer`; its linears' inputs become statistics().
  void run(LayerWeights layer);
  const LayerWeights& layer() const { return model_.layers[0]; }
  InputStatistics& statistics(LinearRole role) { return statistics_.at(role); }

 private:
  void embed(const Checkpoint& checkpoint, const ModelSpec& spec);
  KvView kv() { return {layout_, blocks_.data()}; }

  ThreadPool& pool_;
  std::vector<int32_t> tokens_, block_table_;
  std::vector<StepSeq> seqs_;
  std::vector<float> hidden_;  // [tokens, hidden_size]
  ModelWeights model_;         // of one layer
  KvLayout layout_;
  Buffer blocks_;
  std::unique_ptr<Forward> forward_;
  std::map<LinearRole, InputStatistics> statistics_;
};

Calibration::Calibration(const Checkpoint& checkpoint, const ModelSpec& spec,
                         const std::vector<std::vector<int32_t>>& sequences, ThreadPool& pool)
    : pool_(pool) {
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

  model_.spec = spec;
  model_.spec.n_layers = 1;
  model_.format = format(dense_scheme(spec.dtype).info().name);
  model_.layers.resize(1);
  layout_ = kv_layout(model_.spec, model_.format, kBlockSize);
  blocks_ = Buffer(std::ssize(block_table_) * layout_.block_bytes(), "calibration KV cache");
  forward_ = std::make_unique<Forward>(model_, limits, pool, active_isa());
  forward_->observe([this](int, LinearRole role, const float* x, int64_t n_tokens, int64_t in) {
    statistics_.try_emplace(role, in).first->second.add(x, n_tokens, pool_);
  });
  embed(checkpoint, spec);
}

void Calibration::embed(const Checkpoint& checkpoint, const ModelSpec& spec) {
  const int64_t shape[] = {spec.vocab_size, spec.hidden_size};
  const TensorView& table = checkpoint.at("model.embed_tokens.weight", shape);
  check_floats(table, pool_);
  hidden_.resize(std::ssize(tokens_) * spec.hidden_size);
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

// One linear in work: its weight and bias in float, changed by folds and clipping until it is packed.
struct Linear {
  LinearSpec spec;
  std::vector<float> weight, bias;

  explicit Linear(const LinearWeight& dense)
      : spec(dense.spec), weight(dense.spec.shape.out * dense.spec.shape.in), bias(dense.bias) {
    for (int64_t row = 0; row < spec.shape.out; ++row)
      dense.scheme->unpack_row(dense.packed, row, &weight[row * spec.shape.in]);
  }
  // The rows of the last part: v of qkv, up of gate_up.
  std::span<float> last_rows() { return std::span(weight).last(spec.parts.back().n_rows * spec.shape.in); }
  std::span<float> last_bias() {
    return bias.empty() ? std::span<float>() : std::span(bias).last(spec.parts.back().n_rows);
  }
};

class LayerQuantizer {
 public:
  LayerQuantizer(Calibration& calibration, const Scheme& scheme, ThreadPool& pool)
      : calibration_(calibration), scheme_(scheme), pool_(pool) {}
  LayerWeights quantize();

 private:
  std::vector<float> scale(Linear& linear);
  void fold(Linear& linear, std::vector<float>& norm);
  void fold(Linear& linear, Linear& previous);
  void clip(Linear& linear, std::span<float> rows);
  LinearWeight pack(Linear linear);

  Calibration& calibration_;
  const Scheme& scheme_;
  ThreadPool& pool_;
  const AwqOptions options_;
};

// Searches the scales of a linear's inputs and takes them into its columns and its statistics; whoever makes the inputs
// has to divide by what is returned.
std::vector<float> LayerQuantizer::scale(Linear& linear) {
  InputStatistics& input = calibration_.statistics(linear.spec.role);
  AwqScales found = awq_search_scales(linear.weight, input, scheme_, options_, pool_);
  TM_DEBUG("layer {} {}: exponent {:.2f}, output error {:.4g} rounded to nearest, {:.4g} scaled", linear.spec.layer,
           name(linear.spec.role), found.exponent, found.error_rtn, found.error);
  multiply_columns(linear.weight, found.scales);
  input.divide(found.scales);
  return std::move(found.scales);
}

void LayerQuantizer::fold(Linear& linear, std::vector<float>& norm) { divide_rows(norm, scale(linear)); }

void LayerQuantizer::fold(Linear& linear, Linear& previous) {
  const std::vector<float> scales = scale(linear);
  divide_rows(previous.last_rows(), scales);
  if (!previous.bias.empty()) divide_rows(previous.last_bias(), scales);
}

void LayerQuantizer::clip(Linear& linear, std::span<float> rows) {
  const AwqClip found = awq_clip(rows, calibration_.statistics(linear.spec.role), scheme_, options_, pool_);
  TM_DEBUG("layer {} {}: clipping takes the groups' errors to {:.3f} of what they were", linear.spec.layer,
           name(linear.spec.role), found.error_after / found.error_before);
}

LinearWeight LayerQuantizer::pack(Linear linear) {
  const DenseRows rows{.data = reinterpret_cast<const std::byte*>(linear.weight.data()),
                       .dtype = DType::kF32,
                       .n_rows = linear.spec.shape.out};
  const CanonicalWeight codes = scheme_.quantize_rtn(std::span(&rows, 1), linear.spec.shape);
  return {linear.spec, &scheme_, scheme_.pack(codes, pool_), std::move(linear.bias)};
}

LayerWeights LayerQuantizer::quantize() {
  const LayerWeights& dense = calibration_.layer();
  LayerWeights result;
  result.input_norm = dense.input_norm;
  result.post_attention_norm = dense.post_attention_norm;
  Linear qkv(dense.qkv), attention_out(dense.attention_out), gate_up(dense.gate_up), down(dense.down);
  fold(qkv, result.input_norm);
  // With grouped-query attention a row of v feeds several columns of o, which have one scale each.
  if (qkv.spec.parts.back().n_rows == attention_out.spec.shape.in) fold(attention_out, qkv);
  fold(gate_up, result.post_attention_norm);
  fold(down, gate_up);
  clip(qkv, qkv.last_rows());  // q and k multiply each other: clipping them is left out, as in the reference
  clip(attention_out, attention_out.weight);
  clip(gate_up, gate_up.weight);
  clip(down, down.weight);
  result.qkv = pack(std::move(qkv));
  result.attention_out = pack(std::move(attention_out));
  result.gate_up = pack(std::move(gate_up));
  result.down = pack(std::move(down));
  return result;
}

}  // namespace

std::vector<LayerWeights> quantize_awq(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                                       const LoadOptions& options, ThreadPool& pool) {
  const Format dense = trimeter::format(dense_scheme(spec.dtype).info().name);
  check_calibration(options.calibration, spec);
  Calibration calibration(checkpoint, spec, options.calibration, pool);
  LayerQuantizer quantizer(calibration, scheme(format.scheme), pool);
  std::vector<LayerWeights> layers;
  const auto n_layers = static_cast<int>(spec.n_layers);
  for (int layer = 0; layer < n_layers; ++layer) {
    calibration.run(load_layer(checkpoint, spec, layer, dense, pool));
    layers.push_back(quantizer.quantize());
    if (options.on_progress) options.on_progress("awq", layer + 1, n_layers);
  }
  return layers;
}

}  // namespace trimeter
