#include "record/kernel_lines.h"

#include <algorithm>

namespace trimeter {

std::vector<LayersOfKernel> layers_of_kernels(const std::vector<std::string>& lines) {
  std::vector<LayersOfKernel> kernels;
  for (const std::string& line : lines) {
    const size_t colon = line.find(": ");
    const std::string layer = colon == std::string::npos ? "" : line.substr(0, colon);
    const std::string said = colon == std::string::npos ? line : line.substr(colon + 2);
    const auto same =
        std::find_if(kernels.begin(), kernels.end(), [&](const auto& kernel) { return kernel.said == said; });
    if (same == kernels.end())
      kernels.push_back({layer, said});
    else
      same->layers += ", " + layer;
  }
  return kernels;
}

}  // namespace trimeter
