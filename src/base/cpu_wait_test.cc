#include "base/cpu_wait.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <barrier>
#include <thread>
#include <vector>

#include "base/clock.h"

namespace trimeter {
namespace {

// Four threads that spin on one CPU each wait three quarters of the time.
TEST(CpuWait, ThreadsOnOneCpuWaitForEachOther) {
  if (!cpu_wait_s()) GTEST_SKIP() << "this kernel does not count it";
  constexpr int kThreads = 4;
  constexpr double kSeconds = 0.3;
  const int cpu = sched_getcpu();
  const double began = now_s();
  double before = 0, after = 0;
  std::barrier pinned(kThreads, [&]() noexcept { before = *cpu_wait_s(); });
  std::barrier done(kThreads, [&]() noexcept { after = *cpu_wait_s(); });
  std::vector<std::jthread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&] {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof(one), &one);
      pinned.arrive_and_wait();
      for (const double end = now_s() + kSeconds; now_s() < end;) {
      }
      done.arrive_and_wait();
    });
  threads.clear();
  EXPECT_GT(after - before, 0.5 * (kThreads - 1) * kSeconds);
  EXPECT_LT(after - before, kThreads * (now_s() - began));
}

}  // namespace
}  // namespace trimeter
