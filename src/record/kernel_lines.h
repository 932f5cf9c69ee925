// The kernel line's lines, "LAYER: KERNEL: what it executes and why", told by kernel.
#pragma once
#include <string>
#include <vector>

namespace trimeter {

struct LayersOfKernel {
  std::string layers, said;  // "qkv_proj, o_proj", "bf16.avx2: bf16 requested, bf16 executed"
};

// Layers of which the same is said stand together, in the order of their first. A line without a layer has none.
std::vector<LayersOfKernel> layers_of_kernels(const std::vector<std::string>& lines);

}  // namespace trimeter
