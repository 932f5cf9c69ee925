// Mixed recipes: a format some of whose linears stay in 16 bits.
#pragma once
#include <span>
#include <string>

#include "spec/format.h"
#include "spec/model_spec.h"

namespace trimeter {

// `format` with every decoder linear whose name a pattern matches held in the model's dense dtype. Names are the fused
// module's ("model.layers.0.self_attn.qkv_proj") and its parts' ("model.layers.0.self_attn.q_proj": the whole fused
// linear is kept). A pattern is a name with wildcards: * stands for any characters, ? for one.
// Throws Error(kBadArgument) for a pattern that matches nothing.
Format keep_16bit(const ModelSpec& model, Format format, std::span<const std::string> patterns);

}  // namespace trimeter
