// AWQ: activation-aware weight quantization (arXiv:2306.00978). Follows the reference code (mit-han-lab/llm-awq,
// awq/quantize/auto_scale.py and auto_clip.py): scales protect the input channels whose activations are large; clipping
// shrinks each group's range where that lowers the output error. Both searches minimise the squared output error over
// calibration activations.
//
// The reference multiplies by the activations; here their Gram matrix G = X^T X stands in, since for a weight error D
//   |X D^T|^2 = tr(D G D^T)
// so that time and memory do not grow with the calibration set. Products with G are fp32 (schemes/fp32 on the active
// ISA) and rows are summed in double: each row's error is off by at most 2 * (in + 2) * 2^-24 * |d|^T |G| |d|.
// Where the reference measures the scales' error behind the whole attention or MLP block, this measures it at the
// linear's own output.
//
// All results are the same bits for any number of threads.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "algorithms/input_statistics.h"
#include "base/thread_pool.h"
#include "schemes/scheme.h"

namespace trimeter {

// tr(D G D^T) / (n_tokens * out): the mean squared error of the outputs when the weights are off by D [out, in].
double output_error(std::span<const float> difference, const InputStatistics& input, ThreadPool& pool);

struct AwqOptions {
  int n_grid = 20;          // exponents tried: 0, 1/20, ... 19/20
  int n_clip_grid = 20;     // steps of the clipping search, 1 - step/20 of the range ...
  double max_shrink = 0.5;  // ... down to this fraction: 10 of the 20 are tried
};

struct AwqScales {
  std::vector<float> scales;        // [in]: the weight's columns are multiplied, the input is divided
  double exponent = 0;              // the chosen one; 0: scales of 1, which is round-to-nearest
  double error = 0, error_rtn = 0;  // output_error with them, and with scales of 1
};

// scales = max(mean|x|^exponent, 1e-4), divided by sqrt(max * min): in double, then rounded to float.
std::vector<float> awq_scales(const InputStatistics& input, double exponent);

// The exponent whose D = Q(W diag(s)) diag(s)^-1 - W has the least output_error, the smallest one among equals; Q is
// the scheme's nearest quantization. weight: [out, in], all rows that read this input. The scheme must quantize rows
// independently of each other.
AwqScales awq_search_scales(std::span<const float> weight, const InputStatistics& input, const Scheme& scheme,
                            const AwqOptions& options, ThreadPool& pool);

struct AwqClip {
  double error_before = 0, error_after = 0;  // sum over groups of the groups' own errors, per token and row
};

// Clamps each group of each row to [-m, m], m the fraction of the group's largest |w| that minimises d^T G_gg d, with
// d = Q(clamp(w)) - w and G_gg the group's own block of the Gram matrix; the largest m among equals, so that the error
// so measured never grows. weight: [rows, in], in place. The scheme must have groups and quantize them independently.
AwqClip awq_clip(std::span<float> weight, const InputStatistics& input, const Scheme& scheme, const AwqOptions& options,
                 ThreadPool& pool);

// The fold W diag(s), diag(s)^-1 x that leaves the function as it was. weight: [rows, in]; s: [in] or [rows].
void multiply_columns(std::span<float> weight, std::span<const float> scales);
void divide_rows(std::span<float> weight, std::span<const float> scales);

}  // namespace trimeter
