// Statistics of a sample. Every figure the program prints comes with its samples and its spread.
#pragma once
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace trimeter {

double mean(std::span<const double> samples);
// Linear interpolation between order statistics (numpy's default); p in [0, 1]; samples need not be sorted; not empty.
double quantile(std::span<const double> samples, double p);
double median(std::span<const double> samples);
// Median absolute deviation from the median, not scaled to a standard deviation.
double mad(std::span<const double> samples);
// Standard error of the mean: s / sqrt(n), s with n - 1; 0 for fewer than two samples.
double standard_error(std::span<const double> samples);
// Standard error of the mean of samples that are drawn in clusters: the tokens of a text resemble each other, and the
// text is what was sampled. The mean is a ratio, sum y_i / sum n_i over k clusters, and by linearisation
//   se = sqrt(k / (k - 1) * sum_i (y_i - mean * n_i)^2) / sum n_i       (Cochran, Sampling Techniques, 6.4 and 9A.3)
// with y_i the sum and n_i the number of cluster i's samples; clusters of one give standard_error(). 0 for fewer than
// two clusters. `sizes`: n_i; the samples lie cluster after cluster.
double clustered_standard_error(std::span<const double> samples, std::span<const size_t> sizes);

// A distribution-free interval for the median: the narrowest pair of symmetric order statistics (x_k, x_{n+1-k}) that
// covers with at least 95%: P = 1 - 2 * Binom(n, 1/2).cdf(k - 1). Below six samples no pair does, and the interval is
// (min, max), which covers with 1 - 2^(1-n). Source: David and Nagaraja, Order Statistics, 7.1.
std::pair<double, double> ci95_of_median(std::span<const double> samples);

// a[i] / b[i]: round i of two things that ran side by side in one round.
std::vector<double> paired_ratios(std::span<const double> a, std::span<const double> b);

}  // namespace trimeter
