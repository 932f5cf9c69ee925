// AWQ: activation-aware weight quantization (arXiv:2306.00978; reference code: mit-han-lab/llm-awq, auto_scale.py and
// auto_clip.py). Scales protect the input channels whose activations are large; clipping shrinks each group's range
// where that lowers the output error. Both searches minimise the output error over calibration activations.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "schemes/scheme.h"

namespace trimeter {

// What is known of a linear's input over the calibration tokens; enough for every search, whatever their number.
struct InputStatistics {
  int64_t in = 0, n_tokens = 0;
  std::vector<double> abs_sum;  // [in]      sum |x|
  std::vector<float> gram;      // [in, in]  sum x x^T
  explicit InputStatistics(int64_t in_width) : in(in_width), abs_sum(in_width), gram(in_width * in_width) {}
  void add(const float* x, int64_t n, ThreadPool& pool);  // x: [n, in]
};

struct AwqOptions {
  int n_grid = 20;          // exponents tried: 0, 1/20, ... 19/20 (the reference's grid)
  int n_clip_grid = 20;     // shrink steps of the clipping search ...
  double max_shrink = 0.5;  // ... down to this fraction of the range: 10 of the 20 are tried
};

struct AwqScales {
  std::vector<float> scales;  // [in]: the weight's columns are multiplied, the input is divided
  double exponent = 0;        // the chosen ratio
  double error = 0, error_rtn = 0;  // mean squared output error with them, and with scales of 1
};

// One scale vector for all matrices that read the same input. weights: [out_i, in] f32 each.
AwqScales awq_search_scales(std::span<const std::vector<float>> weights, const InputStatistics& input,
                            const Scheme& scheme, const AwqOptions& options, ThreadPool& pool);

// Per row and group: the range (min, max) shrunk to what minimises the output error; returns weights clamped to it.
std::vector<float> awq_clip(const std::vector<float>& weight, int64_t out, const InputStatistics& input,
                            const Scheme& scheme, const AwqOptions& options, ThreadPool& pool);

}  // namespace trimeter
