// Next-token distributions from logits.
#pragma once
#include <span>

#include "tensor/logits.h"

namespace trimeter {

// sum_v p(v) (log p(v) - log q(v)), p and q as softmax of logits of one length; *_lse: their log_sum_exp.
double kl_divergence(std::span<const float> p_logits, double p_lse, std::span<const float> q_logits, double q_lse);

}  // namespace trimeter
