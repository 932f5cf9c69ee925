// What a format does to a linear's outputs, measured on sampled inputs through the scheme's own kernels: rounded
// activations count as well as rounded weights.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "schemes/scheme.h"

namespace trimeter {

class OutputProbe {
 public:
  // The outputs to be kept, Y = x w^T in fp32. weight: [out, in]; x: [n, in], n > 0.
  OutputProbe(std::span<const float> weight, std::span<const float> x, int64_t in, ThreadPool& pool);

  // |Y' - Y|^2 / |Y|^2 (0 if both are 0), Y' what `scheme` gives for `x` and `weight`. Both may be scaled against each
  // other (AWQ, SmoothQuant): x is then what the scaled weight sees. Summed in double; the same bits for any number of
  // threads.
  double relative_error(const Scheme& scheme, const CanonicalWeight& weight, std::span<const float> x,
                        ThreadPool& pool) const;

 private:
  int64_t out_, in_;
  std::vector<float> outputs_;  // [n, out]
};

}  // namespace trimeter
