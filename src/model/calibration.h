// The calibration tokens on their way through a model, one layer at a time: what its linears see, what its cache holds.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "algorithms/input_statistics.h"
#include "model/forward.h"
#include "model/weights.h"

namespace trimeter {

class Calibration {
 public:
  // Throws Error(kBadArgument) for a token outside the vocabulary or a sequence longer than the model's positions.
  // There must be a token. with_gram: statistics() have it; it takes in^2 floats of each linear.
  Calibration(const Checkpoint& checkpoint, const ModelSpec& spec, const std::vector<std::vector<int32_t>>& sequences,
              bool with_gram, ThreadPool& pool);
  // Through the layers of a model as it is packed, embedded by it; there are no statistics().
  Calibration(const ModelWeights& model, const std::vector<std::vector<int32_t>>& sequences, ThreadPool& pool);

  // Moves the tokens through `layer`, in the dense scheme or as the model has it; the inputs of its linears become
  // statistics().
  void run(LayerWeights layer);
  const LayerWeights& layer() const { return model_.layers[0]; }
  LayerWeights take_layer() { return std::move(model_.layers[0]); }
  InputStatistics& statistics(LinearRole role) { return statistics_.at(role); }
  // Of an fp8 cache of the layer's keys, as they are cached after rope, and values: amax / 448, as llm-compressor has
  // it; 1, as vLLM takes it, for what is always 0.
  KvScale kv_scale() const;

 private:
  Calibration(const ModelSpec& spec, Format format, const std::vector<std::vector<int32_t>>& sequences,
              ThreadPool& pool);
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

// Sets the kv_scale of each layer of a model that is quantized already: what its own layers, as they run here, cache of
// the calibration tokens in floats. Throws Error(kBadArgument) if there are none, and as Calibration; reports
// options.on_progress("kv-fp8", layers done, n_layers).
void calibrate_kv_cache(ModelWeights& model, const LoadOptions& options, ThreadPool& pool);

// A sequence of the calibration has a token.
bool has_tokens(const std::vector<std::vector<int32_t>>& sequences);

}  // namespace trimeter
