// What a product on a card takes, alone or with what is done with its input and its rows, from the times of a few
// shapes: a call, what grows with its rows (sums, scales, what is written), with its inputs' width (fetching the
// input), and with its weights.
#pragma once
#include <span>

#include "schemes/scheme.h"

namespace trimeter {

struct ProductTime {
  MatShape shape;
  double seconds = 0;
};

// seconds = call + out * per_output + in * per_input + out * in * per_weight
struct ProductFit {
  double call = 0, per_output = 0, per_input = 0, per_weight = 0;
  double seconds(MatShape shape) const;
};

// The least squares of relative errors among what has no negative part, a positive per_weight, and no more parts than
// there are shapes.
ProductFit fit_products(std::span<const ProductTime> times);

}  // namespace trimeter
