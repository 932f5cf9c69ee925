#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <numeric>

namespace trimeter {
namespace {

TEST(ThreadPool, EveryMemberRunsOnceAndAllIsVisibleAfter) {
  for (const int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    std::vector<int> calls(static_cast<size_t>(n_threads), 0);
    for (int round = 0; round < 200; ++round) pool.run([&](int thread) { ++calls[static_cast<size_t>(thread)]; });
    for (const int n : calls) EXPECT_EQ(n, 200);
  }
}

TEST(ThreadPool, BarrierSeparatesPhases) {
  ThreadPool pool(4);
  std::vector<int> values(4, 0);
  std::atomic<int> wrong{0};
  pool.run([&](int thread) {
    for (int phase = 1; phase <= 500; ++phase) {
      values[static_cast<size_t>(thread)] = phase;
      pool.barrier();
      if (std::accumulate(values.begin(), values.end(), 0) != 4 * phase) ++wrong;
      pool.barrier();
    }
  });
  EXPECT_EQ(wrong, 0);
}

TEST(ThreadPool, SharesCoverTheRangeInWholeUnits) {
  ThreadPool pool(3);
  for (const int64_t n : {0, 1, 63, 64, 65, 1000}) {
    int64_t next = 0;
    for (int thread = 0; thread < 3; ++thread) {
      const auto [begin, end] = pool.share(n, thread, 64);
      EXPECT_EQ(begin, next);
      EXPECT_TRUE(begin % 64 == 0 || begin == n);
      next = end;
    }
    EXPECT_EQ(next, n);
  }
}

}  // namespace
}  // namespace trimeter
