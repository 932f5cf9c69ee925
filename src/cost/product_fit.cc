#include "cost/product_fit.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "base/error.h"

namespace trimeter {
namespace {

constexpr size_t kParts = 4;
using Parts = std::array<double, kParts>;

// What a shape has of call, outputs, inputs and weights.
Parts parts_of(MatShape shape) {
  const auto out = static_cast<double>(shape.out), in = static_cast<double>(shape.in);
  return {1, out, in, out * in};
}

// The least squares with these parts alone, by the normal equations and Gauss-Jordan elimination; infinite where they
// don't determine it.
Parts solve(std::span<const ProductTime> times, const std::array<bool, kParts>& used) {
  std::array<std::array<double, kParts + 1>, kParts> rows{};
  for (const ProductTime& time : times) {
    const Parts parts = parts_of(time.shape);
    for (size_t i = 0; i < kParts; ++i) {
      for (size_t j = 0; j < kParts; ++j) rows[i][j] += parts[i] * parts[j] / (time.seconds * time.seconds);
      rows[i][kParts] += parts[i] / time.seconds;
    }
  }
  // Parts differ by orders of magnitude: each is counted in units of its own.
  Parts unit{};
  for (size_t i = 0; i < kParts; ++i) unit[i] = 1 / std::sqrt(rows[i][i]);
  for (size_t i = 0; i < kParts; ++i) {
    for (size_t j = 0; j < kParts; ++j) rows[i][j] = used[i] && used[j] ? rows[i][j] * unit[i] * unit[j] : i == j;
    rows[i][kParts] = used[i] ? rows[i][kParts] * unit[i] : 0;
  }
  for (size_t pivot = 0; pivot < kParts; ++pivot) {
    size_t best = pivot;
    for (size_t i = pivot; i < kParts; ++i)
      if (std::fabs(rows[i][pivot]) > std::fabs(rows[best][pivot])) best = i;
    std::swap(rows[pivot], rows[best]);
    for (size_t i = 0; i < kParts; ++i) {
      if (i == pivot) continue;
      const double factor = rows[i][pivot] / rows[pivot][pivot];
      for (size_t j = pivot; j <= kParts; ++j) rows[i][j] -= factor * rows[pivot][j];
    }
  }
  Parts result{};
  for (size_t i = 0; i < kParts; ++i) result[i] = rows[i][kParts] / rows[i][i] * unit[i];
  return result;
}

}  // namespace

double ProductFit::seconds(MatShape shape) const {
  const Parts parts = parts_of(shape);
  return call * parts[0] + per_output * parts[1] + per_input * parts[2] + per_weight * parts[3];
}

ProductFit fit_products(std::span<const ProductTime> times) {
  for (const ProductTime& time : times)
    TM_CHECK(time.seconds > 0, "a product of {} x {} in {} s", time.shape.out, time.shape.in, time.seconds);
  ProductFit best;
  constexpr double kSame = 1e-12;  // of two that fit all times, the one that comes first
  double least = std::numeric_limits<double>::infinity();
  for (unsigned with = 0; with < 8; ++with) {  // every choice of the others beside the weights, the shortest first
    const std::array<bool, kParts> used{(with & 1) != 0, (with & 2) != 0, (with & 4) != 0, true};
    if (std::ranges::count(used, true) > std::ssize(times)) continue;
    const Parts found = solve(times, used);
    const ProductFit fit{found[0], found[1], found[2], found[3]};
    if (!(fit.call >= 0 && fit.per_output >= 0 && fit.per_input >= 0 && fit.per_weight > 0)) continue;
    double error = 0;
    for (const ProductTime& time : times) error += std::pow(fit.seconds(time.shape) / time.seconds - 1, 2);
    if (error > least - kSame) continue;
    least = error;
    best = fit;
  }
  TM_CHECK(best.per_weight > 0, "{} products fit nothing", times.size());
  return best;
}

}  // namespace trimeter
