// Logits: what samplers, scores and meters all ask of a row of them.
#pragma once
#include <cstdint>
#include <span>

namespace trimeter {

// log(sum_v exp(x_v)), shifted by the largest, in double, in order: relative error of the sum below n * 2^-53. Infinite
// or NaN if a logit is +infinity or NaN, or all are -infinity.
double log_sum_exp(std::span<const float> logits);

// Index of the largest, the lowest index among equals; -1 if one is infinite or NaN: such a row says nothing. Both in
// one reading.
int32_t argmax(std::span<const float> logits);

}  // namespace trimeter
