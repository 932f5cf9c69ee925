// How the parts of a card's measurement time what they enqueue.
#pragma once
#include <algorithm>
#include <vector>

#include "base/cuda/cuda.h"
#include "base/stats.h"

namespace trimeter::cuda {

inline constexpr int kRounds = 3;
inline constexpr double kLeastSeconds = 5e-4;  // of a timed run

// The median time of one launch of a graph of `enqueue`; it is launched often enough that the clock's steps vanish.
template <class Enqueue>
double graph_seconds(const Stream& stream, Enqueue&& enqueue) {
  enqueue();
  stream.synchronize();
  Graph graph;
  graph.capture(stream, enqueue);
  const Event begin, end;
  const auto time = [&](int n) {
    graph.launch(stream);  // while it runs, the host is done with launching those that are timed
    begin.record(stream);
    for (int i = 0; i < n; ++i) graph.launch(stream);
    end.record(stream);
    end.synchronize();
    return end.seconds_since(begin) / n;
  };
  const int n = std::clamp(static_cast<int>(kLeastSeconds / time(1)), 1, 1000);
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) seconds.push_back(time(n));
  return median(seconds);
}

}  // namespace trimeter::cuda
