#include "base/thread_pool.h"

#include <algorithm>
#include <system_error>

#include "base/cpu.h"
#include "base/error.h"

namespace trimeter {
namespace {

// About 10 us of polling (a pause takes 20 to 50 ns), longer than most waits inside a step. Then some 100 us of polling
// that lets others have the CPU: where another program takes one, two members of the team can stand on the same, and
// the one that polls would keep the one it waits for from running until its time is up.
constexpr int kSpins = 400;
constexpr int kYields = 200;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until value differs from old: polls first, then lets the kernel wake it.
void await_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins + kYields; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    if (i < kSpins)
      pause();
    else
      std::this_thread::yield();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

}  // namespace

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads > 0 ? n_threads : cpu_info().n_cpus) {
  threads_.reserve(static_cast<size_t>(n_threads_ - 1));
  try {
    for (int thread = 1; thread < n_threads_; ++thread) threads_.emplace_back([this, thread] { work(thread); });
  } catch (const std::system_error& error) {
    stop();
    throw Error(Errc::kIo, "threads: wanted {}, the system gave {}: {}", n_threads_, threads_.size() + 1,
                error.code().message());
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stop_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadPool::run_erased(Erased function, void* context) {
  function_ = function;
  context_ = context;
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  function(context, 0);
  barrier();
}

void ThreadPool::work(int thread) {
  for (uint32_t seen = 0;; ++seen) {
    await_change(epoch_, seen);
    if (stop_.load(std::memory_order_relaxed)) return;
    function_(context_, thread);
    barrier();
  }
}

void ThreadPool::barrier() {
  if (n_threads_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(n_threads_)) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
    phase_.notify_all();
  } else {
    await_change(phase_, phase);
  }
}

}  // namespace trimeter
