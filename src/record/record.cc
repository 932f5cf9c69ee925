#include "record/record.h"

#include <tuple>
#include <utility>

#include "base/stats.h"

namespace trimeter {

Sampled Sampled::of(std::vector<double> samples) {
  Sampled sampled;
  if (!samples.empty()) {
    sampled.median = trimeter::median(samples);
    sampled.mad = trimeter::mad(samples);
    std::tie(sampled.ci95_low, sampled.ci95_high) = ci95_of_median(samples);
  }
  sampled.samples = std::move(samples);
  return sampled;
}

}  // namespace trimeter
