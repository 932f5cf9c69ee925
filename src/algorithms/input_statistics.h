// What is known of a linear's input over the calibration tokens; enough for every search, whatever their number.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace trimeter {

struct InputStatistics {
  static constexpr int64_t kMaxSample = 512;  // tokens

  int64_t in = 0, n_tokens = 0;
  std::vector<double> abs_sum;  // [in]      sum |x|
  std::vector<float> amax;      // [in]      max |x|
  std::vector<float> gram;      // [in, in]  sum x x^T, f32, in order of tokens; empty without_gram
  // Every sample_stride-th token's x, [n_sample(), in]: all of them up to kMaxSample, then at least half of that.
  std::vector<float> sample;
  int64_t sample_stride = 1;

  explicit InputStatistics(int64_t in_width) : in(in_width), abs_sum(in), amax(in), gram(in * in) {}
  static InputStatistics without_gram(int64_t in_width);

  int64_t n_sample() const { return static_cast<int64_t>(sample.size()) / in; }
  void add(const float* x, int64_t n, ThreadPool& pool);  // x: [n, in]
  // As if every x had been divided by `scales` [in].
  void divide(std::span<const float> scales);

 private:
  void add_to_gram(const float* x, int64_t n, ThreadPool& pool);
  void add_to_sample(const float* x, int64_t n);
};

}  // namespace trimeter
