// Next-token distributions from logits.
#pragma once
#include <cstdint>
#include <span>

namespace trimeter {

// log(sum_v exp(x_v)), shifted by the largest, in double: relative error below n * 2^-53 of the sum. Infinite or NaN if
// a logit is +infinity or NaN, or all are -infinity.
double log_sum_exp(std::span<const float> logits);

// sum_v p(v) (log p(v) - log q(v)), p and q as softmax of logits of one length; *_lse: their log_sum_exp.
double kl_divergence(std::span<const float> p_logits, double p_lse, std::span<const float> q_logits, double q_lse);

// The lowest index of the largest.
int32_t argmax(std::span<const float> logits);

}  // namespace trimeter
