// A team of threads that runs one function together (SPMD) and meets at barriers. A decode step of a small model takes
// well under a millisecond and has tens of barriers, so the team spins for a while before it sleeps; see
// docs/decisions/ for why this is neither OpenMP nor a task queue.
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

namespace trimeter {

class ThreadPool {
 public:
  // The calling thread is member 0; n_threads - 1 are started. n_threads <= 0: one per CPU this process may use.
  explicit ThreadPool(int n_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return n_threads_; }

  // Runs body(thread) once on every member, thread in [0, size()), and returns when all are done. Not reentrant; body
  // must not throw.
  template <class Body>
  void run(Body&& body) {
    run_erased([](void* context, int thread) { (*static_cast<std::remove_reference_t<Body>*>(context))(thread); },
               const_cast<void*>(static_cast<const void*>(&body)));
  }

  // body(begin, end) for each member's share of [0, n), likewise; it may throw, and the first share's exception is
  // thrown on when all are done.
  template <class Body>
  void run_shares(int64_t n, int64_t grain, Body&& body) {
    std::vector<std::exception_ptr> errors(n_threads_);
    run([&](int thread) {
      const auto [begin, end] = share(n, thread, grain);
      try {
        if (begin < end) body(begin, end);
      } catch (...) {
        errors[thread] = std::current_exception();
      }
    });
    for (const std::exception_ptr& error : errors)
      if (error) std::rethrow_exception(error);
  }

  // Inside run(): returns when every member has arrived; what was written before is visible after.
  void barrier();

  // Member `thread`'s share of [0, n), in whole units of `grain`, as even as it goes.
  std::pair<int64_t, int64_t> share(int64_t n, int thread, int64_t grain = 1) const {
    const int64_t units = (n + grain - 1) / grain;
    const int64_t begin = units * thread / n_threads_ * grain;
    const int64_t end = units * (thread + 1) / n_threads_ * grain;
    return {begin < n ? begin : n, end < n ? end : n};
  }

 private:
  using Erased = void (*)(void*, int);
  void run_erased(Erased function, void* context);
  void work(int thread);
  void stop();

  int n_threads_;
  Erased function_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> epoch_{0};    // odd or even alike: each change starts one run()
  alignas(64) std::atomic<uint32_t> arrived_{0};  // members at the current barrier
  alignas(64) std::atomic<uint32_t> phase_{0};    // barriers passed
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace trimeter
