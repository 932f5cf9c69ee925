#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>
#include <string>

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

TEST(ThreadPool, RunSharesThrowsTheFirstSharesException) {
  ThreadPool pool(3);
  std::vector<int> seen(10, 0);
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      ++seen[static_cast<size_t>(i)];
      if (i == 4 || i == 9) throw std::runtime_error(std::to_string(i));
    }
  };
  try {
    pool.run_shares(10, 1, body);
    FAIL() << "nothing was thrown";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "4");
  }
  EXPECT_EQ(seen, (std::vector<int>{1, 1, 1, 1, 1, 0, 1, 1, 1, 1}));
  pool.run_shares(2, 1, [&](int64_t begin, int64_t end) { seen[static_cast<size_t>(begin)] += static_cast<int>(end); });
  EXPECT_EQ(seen[0], 2);
  EXPECT_EQ(seen[1], 3);
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
