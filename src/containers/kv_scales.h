// Scales of an fp8 KV cache that a checkpoint carries beside its weights.
#pragma once
#include <string>

namespace trimeter {

// Names of quantizers and engines over time: self_attn.k_scale, attn.v_scale, k_proj.output_scale, kv_scale, ...
bool is_kv_scale(const std::string& tensor);

}  // namespace trimeter
