#include "model/gguf_weights.h"

#include <fmt/format.h>

#include "base/error.h"
#include "model/float_tensor.h"

namespace trimeter {
namespace {

PackedWeight pack(const GgufModel& model, const LinearSpec& linear, const Scheme& scheme, ThreadPool& pool) {
  for (const TensorView& tensor : model.floats(linear)) check_floats(tensor, pool);
  const CanonicalWeight weight = model.linear(linear);
  try {
    return scheme.pack(weight, pool);
  } catch (const Error& error) {
    std::vector<std::string> tensors;
    for (const LinearPart& part : linear.parts) tensors.push_back(gguf_tensor_name(part.tensor));
    throw Error(error.code(), "{}: tensor '{}': {}", model.path(), fmt::join(tensors, "' over '"), error.what());
  }
}

LinearWeight load_linear(const GgufModel& model, const LinearSpec& linear, const Scheme& scheme, ThreadPool& pool) {
  LinearWeight weight{linear, &scheme, pack(model, linear, scheme, pool), model.bias(linear)};
  model.release(linear);
  return weight;
}

}  // namespace

ModelWeights load_gguf_weights(const GgufModel& model, const LoadOptions& options, ThreadPool& pool) {
  ModelWeights weights;
  weights.spec = model.spec();
  weights.format = model.format();
  const ModelSpec& spec = weights.spec;
  const auto n_layers = static_cast<int>(spec.n_layers);
  // The largest matrix first, as in a directory.
  weights.lm_head = load_linear(model, spec.lm_head(), linear_scheme(spec, weights.format, spec.lm_head()), pool);
  for (int layer = 0; layer < n_layers; ++layer) {
    const std::vector<LinearSpec> linears = spec.linears_of_layer(layer);
    const auto linear = [&](size_t i) {
      return load_linear(model, linears[i], linear_scheme(spec, weights.format, linears[i]), pool);
    };
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    weights.layers.push_back({model.norm(prefix + "input_layernorm.weight"),
                              model.norm(prefix + "post_attention_layernorm.weight"), linear(0), linear(1), linear(2),
                              linear(3)});
    if (options.on_progress) options.on_progress("weights", layer + 1, n_layers);
  }
  weights.final_norm = model.norm("model.norm.weight");
  if (!spec.tie_word_embeddings) {
    const LinearSpec embedding = embedding_as_linear(spec);
    const std::string& scheme_name = weights.format.scheme_of_module.at(std::string(kEmbeddingModule));
    weights.packed_embedding = load_linear(model, embedding, scheme(scheme_name), pool);
  }
  return weights;
}

}  // namespace trimeter
