#include "base/stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"

namespace trimeter {

double mean(std::span<const double> samples) {
  TM_CHECK(!samples.empty(), "mean of nothing");
  return std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
}

double quantile(std::span<const double> samples, double p) {
  TM_CHECK(!samples.empty() && p >= 0 && p <= 1, "quantile {} of {} samples", p, samples.size());
  std::vector<double> sorted(samples.begin(), samples.end());
  std::sort(sorted.begin(), sorted.end());
  const double at = p * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(at);
  const size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

double median(std::span<const double> samples) { return quantile(samples, 0.5); }

double mad(std::span<const double> samples) {
  const double center = median(samples);
  std::vector<double> distances;
  distances.reserve(samples.size());
  for (const double x : samples) distances.push_back(std::abs(x - center));
  return median(distances);
}

double standard_error(std::span<const double> samples) {
  if (samples.size() < 2) return 0;
  const double center = mean(samples);
  double squares = 0;
  for (const double x : samples) squares += (x - center) * (x - center);
  const auto n = static_cast<double>(samples.size());
  return std::sqrt(squares / (n - 1) / n);
}

double clustered_standard_error(std::span<const double> samples, std::span<const size_t> sizes) {
  TM_CHECK(std::accumulate(sizes.begin(), sizes.end(), size_t{0}) == samples.size(), "{} samples in {} clusters",
           samples.size(), sizes.size());
  if (sizes.size() < 2) return 0;
  const double center = mean(samples);
  double squares = 0;
  size_t begin = 0;
  for (const size_t size : sizes) {
    double residual = 0;
    for (const double x : samples.subspan(begin, size)) residual += x - center;
    squares += residual * residual;
    begin += size;
  }
  const auto k = static_cast<double>(sizes.size());
  return std::sqrt(k / (k - 1) * squares) / static_cast<double>(samples.size());
}

std::pair<double, double> ci95_of_median(std::span<const double> samples) {
  TM_CHECK(!samples.empty(), "interval of nothing");
  std::vector<double> sorted(samples.begin(), samples.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t n = sorted.size();
  double term = std::pow(0.5, static_cast<double>(n));  // Binom(n, 1/2).pmf(k)
  double below = 0;                                     // cdf(k - 1)
  size_t k = 0;
  while (k < (n - 1) / 2 && below + term <= 0.025) {
    below += term;
    term *= static_cast<double>(n - k) / static_cast<double>(k + 1);
    ++k;
  }
  const size_t low = k == 0 ? 0 : k - 1;
  return {sorted[low], sorted[n - 1 - low]};
}

std::vector<double> paired_ratios(std::span<const double> a, std::span<const double> b) {
  TM_CHECK(a.size() == b.size(), "{} rounds against {}", a.size(), b.size());
  std::vector<double> ratios(a.size());
  for (size_t i = 0; i < a.size(); ++i) ratios[i] = a[i] / b[i];
  return ratios;
}

}  // namespace trimeter
