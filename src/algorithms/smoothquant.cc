#include "algorithms/smoothquant.h"

#include <algorithm>
#include <cmath>

#include "algorithms/awq.h"
#include "algorithms/output_probe.h"
#include "base/error.h"

namespace trimeter {
namespace {

constexpr double kLeastScale = 1e-5;

// Through the scheme, with inputs divided by `scales` and the weight's columns multiplied.
double error_with(const std::vector<float>& scales, std::span<const float> weight, const InputStatistics& input,
                  const Scheme& scheme, const ActivationOptions& activations, const OutputProbe& probe,
                  ThreadPool& pool) {
  std::vector<float> scaled(weight.begin(), weight.end());
  multiply_columns(scaled, scales);
  InputStatistics seen = InputStatistics::without_gram(input.in);
  seen.n_tokens = input.n_tokens;
  seen.amax = input.amax;
  seen.sample = input.sample;
  seen.divide(scales);
  const int64_t out = std::ssize(scaled) / input.in;
  const DenseRows rows{.data = reinterpret_cast<const std::byte*>(scaled.data()), .dtype = DType::kF32, .n_rows = out};
  CanonicalWeight codes = scheme.quantize_rtn(std::span(&rows, 1), {.out = out, .in = input.in});
  if (scheme.info().static_input) codes.input_scale = activation_scale(seen, scheme.info().activation, activations);
  return probe.relative_error(scheme, codes, seen.sample, pool);
}

}  // namespace

std::vector<float> smoothquant_scales(std::span<const float> weight, const InputStatistics& input,
                                      std::span<const int32_t> channel_of_input, double alpha) {
  const int64_t in = input.in;
  TM_CHECK(channel_of_input.empty() || std::ssize(channel_of_input) == in, "{} channels of {} inputs",
           channel_of_input.size(), in);
  const auto channel = [&](int64_t i) { return channel_of_input.empty() ? i : channel_of_input[i]; };
  std::vector<float> x_amax(in), w_amax(in);
  for (int64_t i = 0; i < in; ++i) {
    x_amax[channel(i)] = std::max(x_amax[channel(i)], input.amax[i]);
    for (int64_t at = i; at < std::ssize(weight); at += in)
      w_amax[channel(i)] = std::max(w_amax[channel(i)], std::fabs(weight[at]));
  }
  std::vector<float> scales(in);
  for (int64_t i = 0; i < in; ++i) {
    const double x = x_amax[channel(i)], w = w_amax[channel(i)];
    scales[i] =
        x == 0 || w == 0 ? 1 : static_cast<float>(std::max(std::pow(x, alpha) / std::pow(w, 1 - alpha), kLeastScale));
  }
  return scales;
}

SmoothQuantScales smoothquant_search(std::span<const float> weight, const InputStatistics& input,
                                     std::span<const int32_t> channel_of_input, const Scheme& scheme,
                                     const SmoothQuantOptions& options, const ActivationOptions& activations,
                                     ThreadPool& pool) {
  TM_CHECK(input.n_tokens > 0, "no calibration tokens");
  SmoothQuantScales best;
  if (options.alpha) {
    best.scales = smoothquant_scales(weight, input, channel_of_input, *options.alpha);
    best.alpha = options.alpha;
    return best;
  }
  const OutputProbe probe(weight, input.sample, input.in, pool);
  best.scales.assign(input.in, 1.0f);
  best.error = best.error_plain = error_with(best.scales, weight, input, scheme, activations, probe, pool);
  for (int step = 0; step <= options.n_grid; ++step) {
    const double alpha = static_cast<double>(step) / options.n_grid;
    std::vector<float> scales = smoothquant_scales(weight, input, channel_of_input, alpha);
    const double error = error_with(scales, weight, input, scheme, activations, probe, pool);
    if (error >= best.error) continue;
    best.error = error;
    best.alpha = alpha;
    best.scales = std::move(scales);
  }
  return best;
}

}  // namespace trimeter
