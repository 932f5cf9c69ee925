#include "io/unfinished.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "io/file.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void write_until(int signal, const fs::path& directory) {
  remove_unfinished_on_signals();
  for (const char* name : {"finished", "unfinished", "none"}) begin_unfinished(directory / name);
  fs::create_directory(directory / "finished");
  end_unfinished(directory / "finished");
  fs::create_directories(directory / "unfinished" / "deep");
  AtomicFile file(directory / "file");
  std::thread writer([&] {  // while it is being removed
    for (int i = 0;; ++i) {
      std::error_code ignored;
      fs::create_directory(directory / "unfinished" / std::to_string(i), ignored);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  kill(getpid(), signal);
  writer.join();
  _exit(0);
}

TEST(UnfinishedDeathTest, ASignalRemovesWhatIsUnfinishedAndEndsTheProgram) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const TemporaryDirectory directory;
    EXPECT_EXIT(write_until(signal, directory.path()), testing::KilledBySignal(signal), "");
    EXPECT_TRUE(fs::exists(directory.path() / "finished"));
    EXPECT_EQ(std::distance(fs::directory_iterator(directory.path()), {}), 1);
  }
}

// As under nohup.
TEST(UnfinishedDeathTest, AnIgnoredSignalStaysIgnored) {
  const auto ignoring = [] {
    std::signal(SIGHUP, SIG_IGN);
    remove_unfinished_on_signals();
    kill(getpid(), SIGHUP);
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    _exit(7);
  };
  EXPECT_EXIT(ignoring(), testing::ExitedWithCode(7), "");
}

}  // namespace
}  // namespace trimeter
