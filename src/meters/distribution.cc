#include "meters/distribution.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace trimeter {

double kl_divergence(std::span<const float> p_logits, double p_lse, std::span<const float> q_logits, double q_lse) {
  TM_CHECK(p_logits.size() == q_logits.size(), "{} logits against {}", p_logits.size(), q_logits.size());
  double sum = 0;
  for (size_t v = 0; v < p_logits.size(); ++v) {
    const double log_p = p_logits[v] - p_lse;
    sum += std::exp(log_p) * (log_p - (q_logits[v] - q_lse));
  }
  return std::max(sum, 0.0);  // below zero by rounding only
}

}  // namespace trimeter
