// Seconds of a call while every member of a team makes it: what a thread gets when its neighbours are busy too.
#pragma once
#include <algorithm>
#include <vector>

#include "base/clock.h"
#include "base/stats.h"
#include "base/thread_pool.h"

namespace trimeter {

// The lower quartile over `n_repeats` of the time per call of work(thread); a repeat is as many calls as take about
// `repeat_s`. Not the median: whatever else runs on the machine only ever makes a repeat longer, and a profile says
// what the machine does when it is left alone.
template <class Work>
double time_per_call(ThreadPool& team, Work&& work, double repeat_s = 5e-4, int n_repeats = 5) {
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
    for (int i = 0; i < n_repeats; ++i) samples.push_back(seconds_of(n_calls));
    const double seconds = std::max(quantile(samples, 0.25), 1e-9);
    if (seconds > repeat_s / 2) return seconds / static_cast<double>(n_calls);
    n_calls = static_cast<int64_t>(static_cast<double>(n_calls) * std::clamp(repeat_s / seconds, 2.0, 16.0));
  }
}

}  // namespace trimeter
