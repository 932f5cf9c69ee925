// What stages of a card's step take, from stages that were measured as they run: kernels that follow each other
// overlap, or wait and leave the card empty, few rows leave attention to its latency. None of that is in a sum of
// operations timed one by one.
//
// A layer: what it takes beyond its operations, excess = measured - sum of the operations, for each shape that was
// measured; negative where the sum of a step that decodes says too much. Prompts that were measured are short ones,
// with less attention than the sum says; of others that is not known, and nothing is taken from theirs. A model between
// two shapes is between theirs, linear over the logarithm of the layer's weights and over the step's rows; constant
// beyond the ends. Shapes of less than twice another's weights share theirs, the more the nearer.
//
// What follows the last layer: norm, lm_head and the choice are read and written once, all of it by vocabulary or by
// weights: product_fit.h over the shapes that were measured.
#pragma once
#include <optional>
#include <vector>

#include "cost/hardware.h"
#include "spec/ledger.h"

namespace trimeter {

class StageExcess {
 public:
  // Of schemes that the profile has measured no stages of: none.
  StageExcess(const ModelSpec& model, const Format& format, const HardwareProfile& hardware, Target target);

  // Of one layer in a step of so many rows, decoding or with prompts; of these not below 0.
  std::optional<double> of_layer(int64_t n_rows, bool is_decode) const;
  // All of what follows the last one.
  std::optional<double> head_seconds(int64_t n_rows) const;

 private:
  struct Size {
    double n_weights;
    std::vector<RowTime> excess;
  };
  static std::optional<double> at(const std::vector<Size>& sizes, double n_weights, int64_t n_rows);

  double layer_weights_ = 0;
  std::vector<Size> decode_, prompt_;  // by weights
  MatShape head_{};
  std::vector<HeadTimes> heads_;  // of its scheme
};

}  // namespace trimeter
