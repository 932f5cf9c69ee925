#include "probe/best_of.h"

#include <algorithm>

#include "base/error.h"

namespace trimeter {
namespace {

constexpr double kWidth = 1024;  // of a row that two rates of a kernel are compared by

void keep_less(double& best, double other) { best = std::min(best, other); }

double row_s(const KernelRate& rate) { return kWidth * rate.seconds_per_weight + rate.seconds_per_output; }

// The parts of attention were solved together, so they are kept together.
double attention_s(const HardwareProfile& profile) {
  constexpr double kElements = 256 * 64;
  double seconds = profile.attention_seconds_per_call + kElements * profile.attention_seconds_per_query_element;
  for (const auto& [dtype, element_s] : profile.attention_seconds_per_kv_element) seconds += kElements * element_s;
  return seconds;
}

}  // namespace

void keep_best(HardwareProfile& best, const HardwareProfile& other) {
  TM_CHECK(best.read_bandwidth.size() == other.read_bandwidth.size() && best.kernels.size() == other.kernels.size(),
           "profiles of {} and {} kernels", best.kernels.size(), other.kernels.size());
  for (size_t i = 0; i < best.read_bandwidth.size(); ++i)
    best.read_bandwidth[i].bytes_per_s =
        std::max(best.read_bandwidth[i].bytes_per_s, other.read_bandwidth[i].bytes_per_s);
  for (auto& [arithmetic, rate] : best.rates) rate = std::max(rate, other.rates.at(arithmetic));
  for (size_t i = 0; i < best.kernels.size(); ++i) {
    const double input_s = std::min(best.kernels[i].seconds_per_input, other.kernels[i].seconds_per_input);
    if (row_s(other.kernels[i]) < row_s(best.kernels[i])) best.kernels[i] = other.kernels[i];
    best.kernels[i].seconds_per_input = input_s;
  }
  if (attention_s(other) < attention_s(best)) {
    best.attention_seconds_per_call = other.attention_seconds_per_call;
    best.attention_seconds_per_kv_element = other.attention_seconds_per_kv_element;
    best.attention_seconds_per_query_element = other.attention_seconds_per_query_element;
  }
  for (auto& [op, seconds] : best.elementwise_seconds_per_byte)
    keep_less(seconds, other.elementwise_seconds_per_byte.at(op));
  keep_less(best.sampling_seconds_per_logit, other.sampling_seconds_per_logit);
}

void keep_best(FixedCosts& best, const FixedCosts& other) {
  keep_less(best.barrier_s, other.barrier_s);
  keep_less(best.few_layers_s, other.few_layers_s);
  keep_less(best.many_layers_s, other.many_layers_s);
}

}  // namespace trimeter
