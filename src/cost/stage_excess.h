// What a stage of a card's step takes beyond what its operations take, timed one by one. Kernels that follow each other
// overlap, or wait and leave the card empty; a product's time is no straight line of its shape; few rows leave
// attention to its latency. All of that is in a stage that was measured as it runs, and none of it in a sum:
//   excess = measured - sum of the operations, for the shape that was measured; negative where a sum says too much
// and for a model between two measured sizes, between theirs: linear over the logarithm of the stage's weights, and
// over the step's rows; constant beyond the ends.
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

  // Of one layer in a step of so many rows, decoding or with prompts; of what follows the last one.
  std::optional<double> of_layer(int64_t n_rows, bool is_decode) const;
  std::optional<double> of_head(int64_t n_rows) const;

 private:
  struct Size {
    double n_weights;
    std::vector<RowTime> excess;
  };
  static std::optional<double> at(const std::vector<Size>& sizes, double n_weights, int64_t n_rows);

  double layer_weights_ = 0, head_weights_ = 0;
  std::vector<Size> decode_, prompt_, head_;  // by weights
};

}  // namespace trimeter
