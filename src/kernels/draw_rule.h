// How a card draws a token: engine/sampler.h's definition in integers, whose sums are the same in any order. A weight
// is exp((logit - largest) / temperature) in units of 2^-43, so that what it weighs is off by 2^-44 of the largest at
// most; everything else is the sampler's. Without CUDA: tests hold it against the sampler on any machine.
#pragma once
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define TM_HOST_DEVICE __host__ __device__
#else
#define TM_HOST_DEVICE
#endif

namespace trimeter {

// A row's parameters, as they are uploaded.
struct DrawRow {
  double temperature = 0;  // 0: the largest logit
  double top_p = 1, min_p = 0;
  double uniform = 0;  // in [0, 1)
  float penalty = 1;   // of repetition
  int32_t top_k = 0;   // 0: all
  int32_t row = 0;     // of the logits
  int32_t seen = -1;   // row of the bits of penalised tokens; -1: none
};

// log(softmax) of a row's logits as they are: the chosen token's, then the n most likely ones'.
struct LogprobRow {
  int32_t row = 0;  // of the logits and of the chosen tokens
  int32_t n = 0;
};
inline constexpr int32_t kMostDrawLogprobs = 20;  // n
struct DrawLogprob {
  int32_t token;
  float logprob;
};

// 32-bit words of a row of bits, one for each token.
TM_HOST_DEVICE constexpr int64_t draw_seen_words(int64_t vocab) { return (vocab + 31) / 32; }

inline constexpr int kDrawTokenBits = 20;
inline constexpr int64_t kMostDrawVocab = int64_t{1} << kDrawTokenBits;  // sums of weights are below 2^63

// Larger is likelier: by logit (finite), the lowest token first among equals.
TM_HOST_DEVICE inline uint64_t draw_key(float logit, int32_t token) {
  logit += 0.0f;  // -0 is 0
  uint32_t bits;
  memcpy(&bits, &logit, sizeof bits);
  bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(bits) << kDrawTokenBits | static_cast<uint64_t>(kMostDrawVocab - 1 - token);
}
TM_HOST_DEVICE inline float logit_of_key(uint64_t key) {
  uint32_t bits = static_cast<uint32_t>(key >> kDrawTokenBits);
  bits = (bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits;
  float logit;
  memcpy(&logit, &bits, sizeof logit);
  return logit;
}
TM_HOST_DEVICE inline int32_t token_of_key(uint64_t key) {
  return static_cast<int32_t>(kMostDrawVocab - 1 - static_cast<int64_t>(key & (kMostDrawVocab - 1)));
}

TM_HOST_DEVICE inline float penalised_logit(float logit, float penalty) {
  return logit > 0 ? logit / penalty : logit * penalty;
}

struct DrawWeight {
  static constexpr double kOne = 0x1p43;
  double largest, inverse_temperature, min_p;

  TM_HOST_DEVICE uint64_t operator()(float logit) const {
    const double weight = exp((static_cast<double>(logit) - largest) * inverse_temperature);
    return weight >= min_p ? static_cast<uint64_t>(weight * kOne + 0.5) : 0;
  }
  // Whatever lies below it weighs at most `weight`, in units, which are above 0. It leaves room for rounding.
  TM_HOST_DEVICE float floor_of(double weight) const {
    const double at = largest + (log(weight / kOne) * (1 + 1e-6) - 1e-9) / inverse_temperature;
    const float floor = static_cast<float>(at > -FLT_MAX ? at : -FLT_MAX);
    return static_cast<double>(floor) > at ? nextafterf(floor, -FLT_MAX) : floor;
  }
  // Whatever lies below it weighs nothing.
  TM_HOST_DEVICE float floor() const { return floor_of(min_p * kOne > 0.5 ? min_p * kOne : 0.5); }
};

// The sum at which top_p has enough, and the one above which the drawn token's ends.
TM_HOST_DEVICE inline uint64_t top_p_wanted(double top_p, uint64_t sum) {
  const double wanted = ceil(top_p * static_cast<double>(sum));
  return wanted >= static_cast<double>(sum) ? sum : static_cast<uint64_t>(wanted);
}
TM_HOST_DEVICE inline uint64_t drawn_sum(double uniform, uint64_t sum) {
  const double drawn = uniform * static_cast<double>(sum);
  return drawn >= static_cast<double>(sum) ? sum - 1 : static_cast<uint64_t>(drawn);
}

}  // namespace trimeter
