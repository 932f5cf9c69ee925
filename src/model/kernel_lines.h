// What runs, before anything is loaded.
#pragma once
#include <string>
#include <vector>

#include "base/target.h"
#include "spec/format.h"
#include "spec/model_spec.h"

namespace trimeter {

// One per role, "qkv_proj: KERNEL: fp8 requested, bf16 executed: ...", and of a KV cache in 8 bits.
std::vector<std::string> kernel_lines(const ModelSpec& spec, const Format& format, Target target);

}  // namespace trimeter
