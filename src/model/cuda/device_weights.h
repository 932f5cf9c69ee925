// A checkpoint in a format on the current card. The file is read once, layer by layer; a layer is quantized on the
// host, put into its kernels' form and uploaded, and then the host's copy goes: what a load takes on the host at most
// is stated at stream_weights (model/weights.h).
#pragma once
#include <memory>
#include <vector>

#include "model/weights.h"
#include "schemes/cuda/linear.h"

namespace trimeter::cuda {

struct DeviceLinearWeight {
  std::unique_ptr<DeviceLinear> linear;
  DeviceBuffer bias;  // f32 [out] or empty
};

struct DeviceLayer {
  DeviceBuffer input_norm, post_attention_norm;  // f32 [hidden]
  DeviceLinearWeight qkv, attention_out, gate_up, down;
  KvScale kv_scale{};
};

struct DeviceWeights {
  ModelSpec spec;
  Format format;
  int compute_capability = 0;
  DeviceArena arena;  // of all that follows
  std::vector<DeviceLayer> layers;
  DeviceBuffer final_norm;
  DeviceLinearWeight lm_head;
  DeviceBuffer embedding;  // [vocab, hidden] of dense_dtype(); empty if it is tied: lm_head's rows

  const void* embedding_rows() const;
  MemoryBreakdown memory() const;  // counted from the buffers that are really there
};

// Throws Error(kUnsupported), before anything is read, for what the card has no kernel of: a GGUF file, an embedding
// held in codes, a scheme; otherwise as load_weights.
DeviceWeights load_device_weights(const std::filesystem::path& model, const ModelSpec& spec, const Format& format,
                                  const LoadOptions& options, ThreadPool& pool);

}  // namespace trimeter::cuda
