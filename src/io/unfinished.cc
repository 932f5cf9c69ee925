#include "io/unfinished.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <set>
#include <system_error>
#include <thread>

namespace trimeter {
namespace {

namespace fs = std::filesystem;

struct Registry {
  std::mutex mutex;
  std::multiset<fs::path> paths;
};
// Never destroyed: the signals' thread may look after main() has returned.
Registry& registry() {
  static Registry& one = *new Registry;
  return one;
}

// Others still write into a directory: what they add while it is being emptied goes the next time.
void remove_all_of(const fs::path& path) {
  constexpr int kTries = 100;
  std::error_code error;
  for (int i = 0; i < kTries && fs::exists(fs::symlink_status(path, error)); ++i) fs::remove_all(path, error);
}

[[noreturn]] void wait_and_remove(sigset_t signals) {
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) continue;
  registry().mutex.lock();  // for ever: a thread whose file is gone must not get as far as saying so
  for (const fs::path& path : registry().paths) remove_all_of(path);
  std::signal(signal, SIG_DFL);
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, signal);
  pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
  raise(signal);
  _exit(128 + signal);
}

}  // namespace

void begin_unfinished(const fs::path& path) {
  const std::lock_guard lock(registry().mutex);
  registry().paths.insert(path);
}

void end_unfinished(const fs::path& path) {
  const std::lock_guard lock(registry().mutex);
  registry().paths.erase(registry().paths.find(path));
}

std::unique_lock<std::mutex> hold_signals() { return std::unique_lock(registry().mutex); }

void remove_unfinished_on_signals() {
  sigset_t signals, before;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action;
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN) sigaddset(&signals, signal);
  }
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  try {
    std::thread(wait_and_remove, signals).detach();
  } catch (const std::system_error&) {  // no thread to be had: signals end the program as they would without this
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
}

}  // namespace trimeter
