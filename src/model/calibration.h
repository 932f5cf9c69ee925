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

  // Moves the tokens through `layer`, unquantized; the inputs of its linears become statistics().
  void run(LayerWeights layer);
  const LayerWeights& layer() const { return model_.layers[0]; }
  InputStatistics& statistics(LinearRole role) { return statistics_.at(role); }
  // Of an fp8 cache of the layer's keys, as they are cached after rope, and values: amax / 448, as llm-compressor has
  // it; 1, as vLLM takes it, for what is always 0.
  KvScale kv_scale() const;

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

}  // namespace trimeter
