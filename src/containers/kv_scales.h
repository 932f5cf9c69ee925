// Scales of an fp8 KV cache that a checkpoint carries beside its weights: one number for the keys and one for the
// values of each layer, elements being multiples of them.
#pragma once
#include <string>
#include <vector>

#include "containers/container.h"
#include "kernels/kv_layout.h"

namespace trimeter {

// Names of quantizers and engines over time: self_attn.k_scale, k_proj.output_scale, kv_scale, ... Those of queries and
// of attention weights belong to attention in fp8 arithmetic; ours is in floats and has no use for them.
bool is_kv_scale(const std::string& tensor);

// Of the keys or values of any layer.
bool has_kv_scales(const Checkpoint& checkpoint);

// Throws Error(kNotFound) if the checkpoint has none for the layer's keys or values under any name (where vLLM warns
// and takes 1), Error(kBadFile) for one that is not a positive number.
KvScale read_kv_scale(const Checkpoint& checkpoint, int layer);

// self_attn.k_scale and .v_scale, F32 [1], as llm-compressor and AutoFP8 write them and vLLM reads them.
std::vector<TensorInfo> kv_scale_tensors(int layer);
void write_kv_scale(KvScale scale, int layer, const EmitTensor& emit);

}  // namespace trimeter
