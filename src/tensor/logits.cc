#include "tensor/logits.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace trimeter {
namespace {

constexpr size_t kLanes = 16;   // independent maxima, so that the loop waits for loads alone and vectorises
constexpr size_t kBlock = 512;  // the index is looked for in one of these

// NaN if one of them is infinite or NaN: their differences to themselves tell.
float largest_of(std::span<const float> x) {
  float lanes[kLanes], zeros[kLanes] = {};
  std::fill_n(lanes, kLanes, -std::numeric_limits<float>::infinity());
  const auto take = [&](size_t lane, float value) {
    lanes[lane] = value > lanes[lane] ? value : lanes[lane];
    zeros[lane] += value - value;
  };
  size_t i = 0;
  for (; i + kLanes <= x.size(); i += kLanes)
    for (size_t lane = 0; lane < kLanes; ++lane) take(lane, x[i + lane]);
  for (; i < x.size(); ++i) take(0, x[i]);
  return *std::max_element(lanes, lanes + kLanes) + std::accumulate(zeros, zeros + kLanes, 0.0f);
}

}  // namespace

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - largest);
  return largest + std::log(sum);
}

int32_t argmax(std::span<const float> logits) {
  float largest = -std::numeric_limits<float>::infinity();
  size_t block = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kBlock) {
    const float x = largest_of(logits.subspan(begin, std::min(kBlock, logits.size() - begin)));
    if (std::isnan(x)) return -1;
    if (x > largest) {
      largest = x;
      block = begin;
    }
  }
  const auto at = std::find(logits.begin() + static_cast<std::ptrdiff_t>(block), logits.end(), largest);
  return static_cast<int32_t>(at - logits.begin());
}

}  // namespace trimeter
