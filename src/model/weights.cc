#include "model/weights.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <future>
#include <set>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "containers/container.h"
#include "containers/kv_scales.h"
#include "containers/stored_quantization.h"
#include "model/calibration.h"
#include "model/float_tensor.h"
#include "model/gguf_weights.h"
#include "model/kernel_lines.h"
#include "model/quantize.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr float kF16Max = 65504.0f;
constexpr int64_t kF32Bytes = 4;
constexpr const char* kEmbedding = "model.embed_tokens.weight";
constexpr const char* kLmHead = "lm_head.weight";
constexpr const char* kFinalNorm = "model.norm.weight";

std::string norm_name(int layer, const char* which) { return fmt::format("model.layers.{}.{}.weight", layer, which); }

std::string bias_name(const LinearPart& part) {
  return part.tensor.substr(0, part.tensor.size() - std::strlen("weight")) + "bias";
}

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Codes and scales of a linear in a checkpoint that holds them; empty if it holds floats.
std::vector<StoredMatrix> stored(const ModelSpec& spec, const Format& format, const LinearSpec& linear) {
  return is_stored(format) ? stored_matrices(spec, format, linear) : std::vector<StoredMatrix>();
}

// Every tensor that the linear may have.
std::vector<std::string> linear_tensors(const ModelSpec& spec, const Format& format, const LinearSpec& linear) {
  std::vector<std::string> names;
  for (const StoredMatrix& matrix : stored(spec, format, linear))
    for (const std::string_view suffix : find_container(format.container)->suffixes())
      names.push_back(matrix.module + std::string(suffix));
  const bool dense = names.empty();
  for (const LinearPart& part : linear.parts) {
    if (dense) names.push_back(part.tensor);
    if (linear.has_bias) names.push_back(bias_name(part));
  }
  return names;
}

std::set<std::string> expected_tensors(const ModelSpec& spec, const Format& format) {
  std::set<std::string> names = {kEmbedding, kFinalNorm};
  const auto add_linear = [&](const LinearSpec& linear) {
    for (std::string& tensor : linear_tensors(spec, format, linear)) names.insert(std::move(tensor));
  };
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    names.insert(norm_name(layer, "input_layernorm"));
    names.insert(norm_name(layer, "post_attention_layernorm"));
    for (const LinearSpec& linear : spec.linears_of_layer(layer)) add_linear(linear);
  }
  add_linear(spec.lm_head());
  return names;
}

// A tensor that the config does not account for (a bias it denies, a layer beyond its count) means that the two don't
// belong together. Old checkpoints carry rope frequencies, tied ones at times a copy of the embedding, AutoGPTQ's a
// bias of zeros for every linear: they are derived.
void check_no_stranger(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                       const std::filesystem::path& directory) {
  const std::set<std::string> expected = expected_tensors(spec, format);
  const auto is_zero = [](const TensorView& view) {
    return std::all_of(view.bytes.begin(), view.bytes.end(), [](std::byte b) { return b == std::byte{0}; });
  };
  for (const auto& [tensor, view] : checkpoint.tensors()) {
    const bool derived = ends_with(tensor, ".rotary_emb.inv_freq") || tensor == kLmHead ||
                         (is_stored(format) && (is_kv_scale(tensor) || (ends_with(tensor, ".bias") && is_zero(view))));
    if (!derived && expected.count(tensor) == 0)
      throw Error(Errc::kBadFile, "{}: tensor '{}' is not part of the {} that {} describes", view.file->path().string(),
                  tensor, spec.architecture, (directory / "config.json").string());
  }
}

// Matrices of floats alone: norms and biases are held in fp32, whatever they are stored in; codes and scales are no
// floats of the model's.
void tell_conversion(const Checkpoint& checkpoint, const ModelSpec& spec) {
  constexpr DType kDense[] = {DType::kF32, DType::kF16, DType::kBF16};
  std::set<std::string> stored;
  for (const auto& [name, view] : checkpoint.tensors())
    if (view.shape.size() == 2 && name.ends_with(".weight") && std::ranges::count(kDense, view.dtype) > 0)
      stored.emplace(torch_name(view.dtype));
  stored.erase(std::string(torch_name(spec.dtype)));
  if (!stored.empty())
    TM_INFO("Weights stored as {} are taken as {}, the model's dtype", fmt::join(stored, ", "), torch_name(spec.dtype));
}

// A copy of the embedding at times lies in the file of a model that ties the two. Were it another matrix, one of config
// and weights would be wrong.
void check_tied(const Checkpoint& checkpoint, const ModelSpec& spec) {
  if (!spec.tie_word_embeddings || !checkpoint.has(kLmHead)) return;
  const int64_t shape[] = {spec.vocab_size, spec.hidden_size};
  const TensorView &head = checkpoint.at(kLmHead, shape), &embedding = checkpoint.at(kEmbedding, shape);
  const bool same = head.dtype == embedding.dtype && std::ranges::equal(head.bytes, embedding.bytes);
  release(head);
  release(embedding);
  if (!same)
    throw Error(Errc::kBadFile,
                "{}: tensor '{}': wanted '{}' again, as config.json has tie_word_embeddings, got another",
                head.file->path().string(), kLmHead, kEmbedding);
}

void check_range(const TensorView& tensor, DType held_as, ThreadPool& pool) {
  if (held_as == DType::kF16)
    check_floats(tensor, pool, kF16Max, "fp16");
  else
    check_floats(tensor, pool);
}

std::vector<float> read_bias(const Checkpoint& checkpoint, const LinearSpec& linear, ThreadPool& pool) {
  std::vector<float> bias;
  if (!linear.has_bias) return bias;
  bias.reserve(static_cast<size_t>(linear.shape.out));
  for (const LinearPart& part : linear.parts) {
    const std::vector<float> rows = read_floats(checkpoint.at(bias_name(part), {&part.n_rows, 1}), pool);
    bias.insert(bias.end(), rows.begin(), rows.end());
  }
  return bias;
}

std::vector<float> read_norm(const Checkpoint& checkpoint, const std::string& tensor, const ModelSpec& spec,
                             ThreadPool& pool) {
  return read_floats(checkpoint.at(tensor, {&spec.hidden_size, 1}), pool);
}

CanonicalLinear read_linear(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                            const LinearSpec& linear, ThreadPool& pool) {
  const Scheme& scheme = linear_scheme(spec, format, linear);
  if (const std::vector<StoredMatrix> matrices = stored(spec, format, linear); !matrices.empty())
    return {linear, &scheme, read_stored(*find_container(format.container), checkpoint, matrices, pool),
            read_bias(checkpoint, linear, pool)};
  std::vector<DenseRows> parts;
  for (const LinearPart& part : linear.parts) {
    const int64_t shape[] = {part.n_rows, linear.shape.in};
    const TensorView& view = checkpoint.at(part.tensor, shape);
    check_range(view, scheme.info().activation, pool);
    parts.push_back({view.bytes.data(), view.dtype, part.n_rows});
  }
  return {linear, &scheme, scheme.quantize_rtn(parts, linear.shape, pool), read_bias(checkpoint, linear, pool)};
}

LinearWeight pack(CanonicalLinear linear, ThreadPool& pool) {
  return {std::move(linear.spec), linear.scheme, linear.scheme->pack(linear.weight, pool), std::move(linear.bias)};
}

// Where the time of loading goes.
struct LoadTimes {
  double read_s = 0, pack_s = 0;
};

LinearWeight load_linear(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                         const LinearSpec& linear, ThreadPool& pool, LoadTimes& times) {
  const double begin_s = now_s();
  const auto give_back = [&] {
    for (const std::string& tensor : linear_tensors(spec, format, linear))
      if (checkpoint.has(tensor)) release(checkpoint.at(tensor));
  };
  CanonicalLinear canonical = read_linear(checkpoint, spec, format, linear, pool);
  // Codes are a copy: without the file's pages the matrix is there twice at most, as floats are while they are packed.
  if (canonical.weight.dense.empty()) give_back();
  const double read_s = now_s();
  LinearWeight weight = pack(std::move(canonical), pool);
  times.read_s += read_s - begin_s;
  times.pack_s += now_s() - read_s;
  give_back();
  return weight;
}

// An untied embedding stays in the file's mapping if it already has the dtype to be held in.
void load_embedding(const Checkpoint& checkpoint, DType held_as, ThreadPool& pool, ModelWeights& weights) {
  const int64_t vocab = weights.spec.vocab_size, hidden = weights.spec.hidden_size;
  const int64_t shape[] = {vocab, hidden};
  weights.embedding = checkpoint.at(kEmbedding, shape);
  check_range(weights.embedding, held_as, pool);
  if (weights.embedding.dtype != held_as) {
    weights.embedding_rows = Buffer(vocab * hidden * size_of(held_as), "embedding");
    pool.run([&](int thread) {
      std::vector<float> row(static_cast<size_t>(hidden));
      const auto [begin, end] = pool.share(vocab, thread);
      for (int64_t r = begin; r < end; ++r) {
        floats_from(weights.embedding.bytes.data() + r * hidden * size_of(weights.embedding.dtype),
                    weights.embedding.dtype, hidden, row.data());
        floats_to(row.data(), hidden, held_as, weights.embedding_rows.data() + r * hidden * size_of(held_as));
      }
    });
  }
  release(weights.embedding);
}

LinearWeight load_packed_embedding(const Checkpoint& checkpoint, const ModelSpec& spec, const Scheme& scheme,
                                   ThreadPool& pool) {
  const LinearSpec linear = embedding_as_linear(spec);
  const int64_t shape[] = {spec.vocab_size, spec.hidden_size};
  const TensorView& view = checkpoint.at(kEmbedding, shape);
  check_range(view, scheme.info().activation, pool);
  const DenseRows rows{view.bytes.data(), view.dtype, spec.vocab_size};
  LinearWeight weight{linear, &scheme, scheme.pack(scheme.quantize_rtn({&rows, 1}, linear.shape, pool), pool), {}};
  release(view);
  return weight;
}

std::vector<LayerWeights> load_layers_calibrated(const Checkpoint& checkpoint, const ModelSpec& spec,
                                                 const Format& format, const LoadOptions& options, ThreadPool& pool) {
  std::vector<LayerWeights> layers;
  quantize_layers(checkpoint, spec, format, options, pool,
                  [&](int, CanonicalLayer layer) { layers.push_back(pack(std::move(layer), pool)); });
  return layers;
}

int64_t float_bytes(const std::vector<float>& values) { return static_cast<int64_t>(values.size()) * kF32Bytes; }

// Layer: LayerWeights or CanonicalLayer; make: read_linear or load_linear.
template <class Layer, class MakeLinear>
Layer make_layer(const Checkpoint& checkpoint, const ModelSpec& spec, int layer, const Format& format, ThreadPool& pool,
                 MakeLinear&& make) {
  const std::vector<LinearSpec> linears = spec.linears_of_layer(layer);
  Layer weights;
  weights.input_norm = read_norm(checkpoint, norm_name(layer, "input_layernorm"), spec, pool);
  weights.post_attention_norm = read_norm(checkpoint, norm_name(layer, "post_attention_layernorm"), spec, pool);
  const auto linear = [&](size_t i) { return make(checkpoint, spec, format, linears[i], pool); };
  weights.qkv = linear(0);
  weights.attention_out = linear(1);
  weights.gate_up = linear(2);
  weights.down = linear(3);
  if (format.kv_scales_stored) weights.kv_scale = read_kv_scale(checkpoint, layer);
  return weights;
}

LayerWeights load_layer(const Checkpoint& checkpoint, const ModelSpec& spec, int layer, const Format& format,
                        ThreadPool& pool, LoadTimes& times) {
  return make_layer<LayerWeights>(checkpoint, spec, layer, format, pool, [&](auto&&... arguments) {
    return load_linear(std::forward<decltype(arguments)>(arguments)..., times);
  });
}

std::vector<LayerWeights> load_layers_rtn(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                                          const LoadOptions& options, ThreadPool& pool, LoadTimes& times) {
  std::vector<LayerWeights> layers;
  const auto n_layers = static_cast<int>(spec.n_layers);
  for (int layer = 0; layer < n_layers; ++layer) {
    layers.push_back(load_layer(checkpoint, spec, layer, format, pool, times));
    if (options.on_progress) options.on_progress("weights", layer + 1, n_layers);
  }
  return layers;
}

}  // namespace

CanonicalLayer read_layer(const Checkpoint& checkpoint, const ModelSpec& spec, int layer, const Format& format,
                          ThreadPool& pool) {
  return make_layer<CanonicalLayer>(checkpoint, spec, layer, format, pool, read_linear);
}

LayerWeights load_layer(const Checkpoint& checkpoint, const ModelSpec& spec, int layer, const Format& format,
                        ThreadPool& pool) {
  LoadTimes uncounted;
  return load_layer(checkpoint, spec, layer, format, pool, uncounted);
}

LayerWeights pack(CanonicalLayer layer, ThreadPool& pool) {
  return {std::move(layer.input_norm),
          std::move(layer.post_attention_norm),
          pack(std::move(layer.qkv), pool),
          pack(std::move(layer.attention_out), pool),
          pack(std::move(layer.gate_up), pool),
          pack(std::move(layer.down), pool),
          layer.kv_scale};
}

namespace {

Checkpoint open_checked(const std::filesystem::path& directory, const ModelSpec& spec, const Format& format) {
  Checkpoint checkpoint = Checkpoint::open(directory);
  check_no_stranger(checkpoint, spec, format, directory);
  check_tied(checkpoint, spec);
  tell_conversion(checkpoint, spec);
  if (is_stored(format) && !format.kv_dtype && has_kv_scales(checkpoint))
    TM_INFO(
        "Scales of an fp8 KV cache lie beside the weights, but the config asks for none: it is held in {}; with "
        "--format own+kv-fp8 they are used",
        torch_name(dense_dtype(spec, format)));
  return checkpoint;
}

ModelWeights load_directory(const std::filesystem::path& directory, const ModelSpec& spec, const Format& format,
                            const LoadOptions& options, ThreadPool& pool) {
  check_format_fits(spec, format);
  const Checkpoint checkpoint = open_checked(directory, spec, format);
  ModelWeights weights;
  weights.spec = spec;
  weights.format = format;
  // The largest matrix first: while it is there twice, in the file's pages and packed, nothing else is.
  LoadTimes times;
  weights.lm_head = load_linear(checkpoint, spec, format, spec.lm_head(), pool, times);
  weights.layers = needs_calibration(format) && !is_stored(format)
                       ? load_layers_calibrated(checkpoint, spec, format, options, pool)
                       : load_layers_rtn(checkpoint, spec, format, options, pool, times);
  weights.final_norm = read_norm(checkpoint, kFinalNorm, spec, pool);
  TM_INFO("Of loading, reading and quantizing took {:.2f} s, packing {:.2f} s", times.read_s, times.pack_s);
  if (spec.tie_word_embeddings) return weights;
  const auto held_in = format.scheme_of_module.find(std::string(kEmbeddingModule));
  if (held_in == format.scheme_of_module.end())
    load_embedding(checkpoint, dense_dtype(spec, format), pool, weights);
  else
    weights.packed_embedding = load_packed_embedding(checkpoint, spec, scheme(held_in->second), pool);
  return weights;
}

}  // namespace

void stream_weights(const std::filesystem::path& directory, const ModelSpec& spec, const Format& format,
                    const LoadOptions& options, ThreadPool& pool, WeightSink& sink) {
  const Checkpoint checkpoint = open_checked(directory, spec, format);
  const auto n_layers = static_cast<int>(spec.n_layers);
  const auto give_back = [&](const LinearSpec& linear) {
    for (const std::string& tensor : linear_tensors(spec, format, linear))
      if (checkpoint.has(tensor)) release(checkpoint.at(tensor));
  };
  if (needs_calibration(format) && !is_stored(format)) {
    quantize_layers(checkpoint, spec, format, options, pool,
                    [&](int layer, CanonicalLayer weights) { sink.layer(layer, std::move(weights)); });
  } else {
    const int n_ahead = std::min(pool.size(), kMostLayersAhead);
    std::deque<std::future<CanonicalLayer>> ahead;
    for (int layer = 0, next = 0; layer < n_layers; ++layer) {
      for (; next < n_layers && static_cast<int>(ahead.size()) < n_ahead; ++next)
        ahead.push_back(std::async(std::launch::async, [&, next] {
          ThreadPool alone(1);
          return read_layer(checkpoint, spec, next, format, alone);
        }));
      sink.layer(layer, ahead.front().get());
      ahead.pop_front();
      for (const LinearSpec& linear : spec.linears_of_layer(layer)) give_back(linear);
      if (options.on_progress) options.on_progress("weights", layer + 1, n_layers);
    }
  }
  sink.final_norm(read_norm(checkpoint, kFinalNorm, spec, pool));
  sink.lm_head(read_linear(checkpoint, spec, format, spec.lm_head(), pool));
  give_back(spec.lm_head());
  if (spec.tie_word_embeddings) return;
  const int64_t shape[] = {spec.vocab_size, spec.hidden_size};
  const TensorView& embedding = checkpoint.at(kEmbedding, shape);
  check_range(embedding, dense_dtype(spec, format), pool);
  sink.embedding(embedding);
  release(embedding);
}

ModelWeights load_weights(const std::filesystem::path& model, const ModelSpec& spec, const Format& format,
                          const LoadOptions& options, ThreadPool& pool) {
  ModelWeights weights = is_gguf(model) ? load_gguf_weights(GgufModel::open(model), options, pool)
                                        : load_directory(model, spec, format, options, pool);
  if (!is_stored(format)) return weights;
  weights.format = format;
  if (needs_calibration(format)) calibrate_kv_cache(weights, options, pool);
  return weights;
}

void ModelWeights::embed(int32_t token, float* x) const {
  if (spec.tie_word_embeddings) return lm_head.scheme->unpack_row(lm_head.packed, token, x);
  if (packed_embedding) return packed_embedding->scheme->unpack_row(packed_embedding->packed, token, x);
  const bool mapped = embedding_rows.size() == 0;
  const DType held_as = mapped ? embedding.dtype : dense_dtype(spec, format);
  const std::byte* rows = mapped ? embedding.bytes.data() : embedding_rows.data();
  floats_from(rows + token * spec.hidden_size * size_of(held_as), held_as, spec.hidden_size, x);
}

MemoryBreakdown ModelWeights::memory() const {
  MemoryBreakdown memory;
  memory.norm_bytes = float_bytes(final_norm);
  for (const LayerWeights& layer : layers) {
    memory.norm_bytes += float_bytes(layer.input_norm) + float_bytes(layer.post_attention_norm);
    for (const LinearWeight* linear : {&layer.qkv, &layer.attention_out, &layer.gate_up, &layer.down}) {
      memory.linear_bytes += linear->packed.bytes().total();
      memory.scales_bytes += linear->packed.bytes().scales;
      memory.norm_bytes += float_bytes(linear->bias);
    }
  }
  memory.embedding_bytes = lm_head.packed.bytes().total();
  if (packed_embedding)
    memory.embedding_bytes += packed_embedding->packed.bytes().total();
  else if (!spec.tie_word_embeddings)
    memory.embedding_bytes +=
        embedding_rows.size() > 0 ? embedding_rows.size() : static_cast<int64_t>(embedding.bytes.size());
  memory.weights_bytes = memory.linear_bytes + memory.embedding_bytes + memory.norm_bytes;
  return memory;
}

std::vector<std::string> ModelWeights::kernel_lines(Isa isa) const { return trimeter::kernel_lines(spec, format, isa); }

}  // namespace trimeter
