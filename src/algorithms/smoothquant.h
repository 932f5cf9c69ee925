// SmoothQuant (arXiv:2211.10438): part of the activations' range moves into the weights, channel by channel, so that
// activations with a few large channels can be quantized with one scale per token or tensor. Whoever makes the inputs
// divides by s, the weight's columns are multiplied by it: in exact arithmetic the function stays as it was.
#pragma once
#include <optional>
#include <span>
#include <vector>

#include "algorithms/activation_scale.h"
#include "algorithms/input_statistics.h"
#include "schemes/scheme.h"

namespace trimeter {

struct SmoothQuantOptions {
  std::optional<double> alpha;  // none: searched
  int n_grid = 20;              // of the search: 0, 1/20, ... 1, and no migration at all
};

struct SmoothQuantScales {
  std::vector<float> scales;          // [in]
  std::optional<double> alpha;        // the chosen one; none: scales of 1 were best
  double error = 0, error_plain = 0;  // OutputProbe::relative_error with them, and with scales of 1
};

// s_j = max|x_j|^alpha / max_i|w_ij|^(1 - alpha), in double, then rounded to float and held to 1e-5 and above; 1 for a
// channel that no token or no weight uses. channel_of_input [in]: inputs of one channel come from the same place
// (grouped-query attention: a row of v feeds several columns of o) and share a scale, from the largest of their maxima;
// empty: each is its own. weight: [out, in].
std::vector<float> smoothquant_scales(std::span<const float> weight, const InputStatistics& input,
                                      std::span<const int32_t> channel_of_input, double alpha);

// The alpha that is given, or the one whose scales give the least error through the scheme's own rounding of weights
// (nearest) and activations, the smallest one among equals. With a given alpha nothing is measured.
SmoothQuantScales smoothquant_search(std::span<const float> weight, const InputStatistics& input,
                                     std::span<const int32_t> channel_of_input, const Scheme& scheme,
                                     const SmoothQuantOptions& options, const ActivationOptions& activations,
                                     ThreadPool& pool);

}  // namespace trimeter
