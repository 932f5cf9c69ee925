// A checkpoint in a format, packed for the kernels. Loading reads the mapped file once, layer by layer, quantizes and
// packs, and gives the file's pages back: the packed form is the only resident copy.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "algorithms/gptq.h"
#include "algorithms/smoothquant.h"
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
  KvScale kv_scale{};  // of an fp8 KV cache
};

// Codes and scales before packing: what algorithms choose and containers read and write.
struct CanonicalLinear {
  LinearSpec spec;
  const Scheme* scheme = nullptr;
  CanonicalWeight weight;
  std::vector<float> bias;  // [out] or empty
  // What weight.dense points to if an algorithm changed the values; null: they lie in the checkpoint's mapping.
  std::unique_ptr<const std::vector<float>> floats{};
};

struct CanonicalLayer {
  std::vector<float> input_norm, post_attention_norm;  // [hidden]
  CanonicalLinear qkv, attention_out, gate_up, down;
  KvScale kv_scale{};  // of an fp8 KV cache: the checkpoint's or, over the calibration tokens, Calibration::kv_scale()
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
  std::optional<LinearWeight> packed_embedding;  // instead of the two: held in a scheme

  // x: [hidden], row `token` of the embedding. Tied: of lm_head's packed form.
  void embed(int32_t token, float* x) const;
  MemoryBreakdown memory() const;  // counted from the buffers that are really there
  std::vector<std::string> kernel_lines(Isa isa)
      const;  // one per role: "qkv_proj: KERNEL: fp8 requested, bf16 executed: ...", and of a KV cache in 8 bits
};

struct LoadOptions {
  // Token sequences for algorithms that look at activations: see needs_calibration(). load_weights ignores them for
  // others; quantize_layers (model/quantize.h) measures errors on them.
  std::vector<std::vector<int32_t>> calibration;
  std::function<void(const std::string& what, int done, int total)> on_progress;
  GptqOptions gptq{};
  SmoothQuantOptions smoothquant{};
  ActivationOptions activations{};
};

// Throws Error(kUnsupported) if there is no such algorithm.
bool needs_calibration(const Format& format);

// One layer of the checkpoint in the format's schemes, nearest codes (Scheme::quantize_rtn).
CanonicalLayer read_layer(const Checkpoint& checkpoint, const ModelSpec& spec, int layer, const Format& format,
                          ThreadPool& pool);
LayerWeights pack(CanonicalLayer layer, ThreadPool& pool);

// Likewise, packed linear by linear. Gives the file's pages back.
LayerWeights load_layer(const Checkpoint& checkpoint, const ModelSpec& spec, int layer, const Format& format,
                        ThreadPool& pool);

// Takes a checkpoint's weights one after the other, for a device that keeps a form of its own.
class WeightSink {
 public:
  virtual ~WeightSink() = default;
  virtual void layer(int index, CanonicalLayer weights) = 0;
  virtual void final_norm(std::vector<float> gain) = 0;
  virtual void lm_head(CanonicalLinear weight) = 0;
  // [vocab, hidden], in the file's mapping until this returns; only if it is not tied to lm_head.
  virtual void embedding(const TensorView& rows) = 0;
};

// As load_weights, of a directory. On the host there are the layer that `sink` has, those that threads are quantizing
// ahead of it, at most kMostLayersAhead, and lm_head (with an algorithm that calibrates, what quantize_layers says);
// pages of the file are given back behind them. The scales of an fp8 KV cache of a quantized checkpoint must lie in it.
inline constexpr int kMostLayersAhead = 8;
void stream_weights(const std::filesystem::path& directory, const ModelSpec& spec, const Format& format,
                    const LoadOptions& options, ThreadPool& pool, WeightSink& sink);

// A directory, or a GGUF file, whose own format is the only one but for its KV cache. Throws Error with file, tensor,
// wanted and got. Layers come from load_layer, or from the format's algorithm (model/quantize.h); scales of an fp8 KV
// cache from the checkpoint (Format::kv_scales_stored), or from the calibration tokens: run through the dense layers,
// as an algorithm does, or, where the model is quantized already, through its own (model/calibration.h).
ModelWeights load_weights(const std::filesystem::path& model, const ModelSpec& spec, const Format& format,
                          const LoadOptions& options, ThreadPool& pool);

}  // namespace trimeter
