// A checkpoint in a format, packed for the kernels. Loading reads the mapped file once, layer by layer, quantizes and
// packs, and gives the file's pages back: the packed form is the only resident copy.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/memory_breakdown.h"
#include "io/safetensors.h"
#include "schemes/scheme.h"
#include "spec/ledger.h"
#include "spec/model_spec.h"

namespace trimeter {

struct LinearWeight {
  LinearSpec spec;
  const Scheme* scheme = nullptr;
  PackedWeight packed;
  std::vector<float> bias;  // [out] or empty
};

struct LayerWeights {
  std::vector<float> input_norm, post_attention_norm;  // [hidden]
  LinearWeight qkv, attention_out, gate_up, down;
};

struct ModelWeights {
  ModelSpec spec;
  Format format;
  std::vector<LayerWeights> layers;
  std::vector<float> final_norm;
  LinearWeight lm_head;
  // Untied alone. The embedding as the file has it, mapped; and its rows in the dense dtype where that is another one.
  TensorView embedding;
  Buffer embedding_rows;

  // x: [hidden], row `token` of the embedding. Tied: of lm_head's packed form.
  void embed(int32_t token, float* x) const;
  MemoryBreakdown memory() const;  // counted from the buffers that are really there
  std::vector<std::string> kernel_lines(
      Isa isa) const;  // one per role: "qkv_proj: KERNEL: fp8 requested, bf16 executed: ..."
};

struct LoadOptions {
  // Token sequences for algorithms that look at activations (AWQ): see needs_calibration(). Ignored by others.
  std::vector<std::vector<int32_t>> calibration;
  std::function<void(const std::string& what, int done, int total)> on_progress;
};

bool needs_calibration(const Format& format);

// One layer of the checkpoint in the format's schemes, nearest codes (Scheme::quantize_rtn), packed. Gives the file's
// pages back.
LayerWeights load_layer(const Checkpoint& checkpoint, const ModelSpec& spec, int layer, const Format& format,
                        ThreadPool& pool);

// Throws Error with file, tensor, wanted and got. Layers come from load_layer, or from the format's algorithm
// (model/quantize.h).
ModelWeights load_weights(const std::filesystem::path& directory, const ModelSpec& spec, const Format& format,
                          const LoadOptions& options, ThreadPool& pool);

}  // namespace trimeter
