// Seconds of a call while every member of a team makes it: what a thread gets when its neighbours are busy too.
#pragma once
#include <algorithm>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/stats.h"
#include "base/thread_pool.h"

namespace trimeter {

inline constexpr double kMostSeconds = 0.01;

// Seconds per call of work(thread) in each of `n_repeats`; a repeat is as many calls as take about `repeat_s`. Slow
// calls are content with five repeats.
template <class Work>
std::vector<double> times_per_call(ThreadPool& team, Work&& work, double repeat_s, int n_repeats) {
  const auto seconds_of = [&](int64_t n_calls) {
    double begin_s = 0, end_s = 0;
    team.run([&](int thread) {
      team.barrier();
      if (thread == 0) begin_s = now_s();
      for (int64_t i = 0; i < n_calls; ++i) work(thread);
      team.barrier();
      if (thread == 0) end_s = now_s();
    });
    return end_s - begin_s;
  };
  for (int64_t n_calls = 1;;) {
    std::vector<double> samples;
    const double begin_s = now_s();
    while (static_cast<int>(samples.size()) < n_repeats && (samples.size() < 5 || now_s() - begin_s < kMostSeconds))
      samples.push_back(seconds_of(n_calls));
    const double seconds = std::max(quantile(samples, 0.1), 1e-9);
    if (seconds > repeat_s / 2) {
      for (double& sample : samples) sample /= static_cast<double>(n_calls);
      return samples;
    }
    n_calls = static_cast<int64_t>(static_cast<double>(n_calls) * std::clamp(repeat_s / seconds, 2.0, 16.0));
  }
}

// Their lowest decile. Short repeats and not the median: whatever else runs on the machine only ever makes a repeat
// longer, and a profile says what the machine does when it is left alone.
template <class Work>
double time_per_call(ThreadPool& team, Work&& work, double repeat_s = 1e-4, int n_repeats = 7) {
  return quantile(times_per_call(team, std::forward<Work>(work), repeat_s, n_repeats), 0.1);
}

}  // namespace trimeter
