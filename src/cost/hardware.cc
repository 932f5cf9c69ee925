#include "cost/hardware.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "cost/polyline.h"
#include "io/file.h"

namespace trimeter {
namespace {

double bandwidth_of_threads(const std::vector<BandwidthPoint>& points, int threads, int64_t working_set_bytes) {
  std::vector<std::pair<double, double>> curve;
  for (const BandwidthPoint& point : points)
    if (point.threads == threads)
      curve.emplace_back(std::log(static_cast<double>(point.working_set_bytes)), std::log(point.bytes_per_s));
  std::sort(curve.begin(), curve.end());
  return std::exp(on_polyline(curve, std::log(static_cast<double>(std::max<int64_t>(working_set_bytes, 1)))));
}

}  // namespace

double HardwareProfile::read_bandwidth_bytes_per_s(int n_threads, int64_t working_set_bytes) const {
  std::set<int> counts;
  for (const BandwidthPoint& point : read_bandwidth) counts.insert(point.threads);
  std::vector<std::pair<double, double>> curve;
  for (const int count : counts)
    curve.emplace_back(count, bandwidth_of_threads(read_bandwidth, count, working_set_bytes));
  return on_polyline(curve, n_threads);
}

double seconds_at(const std::vector<RowTime>& times, int64_t n_rows) {
  std::vector<std::pair<double, double>> curve;
  for (const RowTime& time : times) curve.emplace_back(static_cast<double>(time.n_rows), time.seconds);
  std::sort(curve.begin(), curve.end());
  return on_polyline(curve, static_cast<double>(n_rows));
}

double HardwareProfile::layer_overhead_s_of(int64_t n_rows) const {
  return layer_overheads.empty() ? layer_overhead_s : seconds_at(layer_overheads, n_rows);
}

double HardwareProfile::step_overhead_s_of(int64_t n_rows) const {
  return step_overheads.empty() ? step_overhead_s : seconds_at(step_overheads, n_rows);
}

HardwareProfile::Rate HardwareProfile::kernel_rate(std::string_view scheme, std::string_view wanted_isa,
                                                   int64_t n_tokens) const {
  std::vector<const KernelRate*> points;
  for (const KernelRate& rate : kernels)
    if (rate.scheme == scheme && rate.isa == wanted_isa) points.push_back(&rate);
  if (points.empty()) return {};
  std::sort(points.begin(), points.end(),
            [](const KernelRate* a, const KernelRate* b) { return a->n_tokens < b->n_tokens; });
  const auto at = [&](double KernelRate::*figure) {
    std::vector<std::pair<double, double>> curve;
    for (const KernelRate* point : points) curve.emplace_back(static_cast<double>(point->n_tokens), point->*figure);
    return on_polyline(curve, static_cast<double>(n_tokens));
  };
  const double beyond = std::max(1.0, static_cast<double>(n_tokens) / static_cast<double>(points.back()->n_tokens));
  return {true,
          beyond * at(&KernelRate::seconds_per_weight),
          beyond * at(&KernelRate::seconds_per_output),
          at(&KernelRate::seconds_per_input),
          at(&KernelRate::overlap),
          at(&KernelRate::seconds_per_call)};
}

HardwareProfile read_hardware_profile(const std::filesystem::path& path) {
  return hardware_profile_from_json(read_file(path), path.string());
}

}  // namespace trimeter
