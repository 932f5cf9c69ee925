#pragma once
#include <utility>
#include <vector>

#include "base/error.h"

namespace trimeter {

// y at x on the polyline through `points` (sorted by x), constant beyond its ends.
inline double on_polyline(const std::vector<std::pair<double, double>>& points, double x) {
  TM_CHECK(!points.empty(), "no points to interpolate between");
  if (x <= points.front().first) return points.front().second;
  for (size_t i = 1; i < points.size(); ++i) {
    const auto [x0, y0] = points[i - 1];
    const auto [x1, y1] = points[i];
    if (x <= x1) return y0 + (y1 - y0) * (x - x0) / (x1 - x0);
  }
  return points.back().second;
}

}  // namespace trimeter
