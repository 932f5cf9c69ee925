// The one scale of a linear's activations in schemes with static ones, found from what calibration saw.
#pragma once
#include "algorithms/input_statistics.h"
#include "schemes/scheme.h"

namespace trimeter {

struct ActivationOptions {
  enum class Range {
    kAmax,        // the largest |x| of all tokens: nothing is clipped
    kPercentile,  // the percentile of |x| over the sampled tokens: what lies above is clipped
    kMse,         // 1, 0.99, ... 0.21 of the largest |x|, whichever gives the least sum (x - Q(x))^2 over the sample
  };
  Range range = Range::kMse;
  double percentile = 99.99;
};

// range / (largest code of the grid): e4m3's 448 or int8's 127; 1 if all inputs are 0. activation: kF8E4M3 or kI8.
float activation_scale(const InputStatistics& input, DType activation, const ActivationOptions& options);

}  // namespace trimeter
