#include "io/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>

#include "base/error.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

template <class Function>
Error error_of(Function&& function) {
  try {
    function();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no Error";
  return Error(Errc::kIo, "none");
}

size_t n_files(const fs::path& directory) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(File, WritesAndReadsBackEveryByte) {
  const TemporaryDirectory directory;
  std::string content;
  for (int i = 0; i < 70000; ++i) content.push_back(static_cast<char>(i * 31));
  const fs::path path = directory.path() / "file";
  write_file_atomic(path, "old");
  write_file_atomic(path, content);
  EXPECT_EQ(read_file(path), content);
  EXPECT_EQ(n_files(directory.path()), 1u);
}

TEST(File, ReplacesWhatALinkPointsTo) {
  const TemporaryDirectory directory;
  const fs::path file = directory.write("file", "old"), link = directory.path() / "link";
  fs::create_symlink("file", link);
  write_file_atomic(link, "new");
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_EQ(read_file(file), "new");
}

TEST(File, ReadRefusesWhatIsNotAFileOfThatSize) {
  const TemporaryDirectory directory;
  const fs::path file = directory.write("file", "12345");
  const Error too_large = error_of([&] { read_file(file, 4); });
  EXPECT_EQ(too_large.code(), Errc::kBadFile);
  EXPECT_STREQ(too_large.what(), (file.string() + ": wanted at most 4 bytes, got 5").c_str());
  EXPECT_EQ(read_file(file, 5), "12345");

  const Error missing = error_of([&] { read_file(directory.path() / "none"); });
  EXPECT_EQ(missing.code(), Errc::kNotFound);
  EXPECT_NE(std::string(missing.what()).find("none: cannot open: No such file"), std::string::npos) << missing.what();

  const Error is_directory = error_of([&] { read_file(directory.path()); });
  EXPECT_NE(std::string(is_directory.what()).find("got a directory"), std::string::npos) << is_directory.what();

  const fs::path fifo = directory.path() / "fifo";
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  const Error is_pipe = error_of([&] { MappedFile mapped(fifo); });  // and does not wait for a writer
  EXPECT_NE(std::string(is_pipe.what()).find("got a device, socket or pipe"), std::string::npos) << is_pipe.what();
}

// The kernel stops the write half-way, as a disk does that fills up.
TEST(File, AFailedWriteLeavesTheOldFileAndNothingElse) {
  const TemporaryDirectory directory;
  const fs::path path = directory.write("file", "old");
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  const Error error = error_of([&] { write_file_atomic(path, std::string(5000, 'x')); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);

  EXPECT_EQ(error.code(), Errc::kIo);
  EXPECT_STREQ(error.what(), (path.string() + ": cannot write 5000 bytes: File too large").c_str());
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(n_files(directory.path()), 1u);
}

TEST(File, WriteNamesWhatTheSystemRefused) {
  const Error full = error_of([] { write_file_atomic("/dev/full", "content"); });
  EXPECT_EQ(full.code(), Errc::kIo);
  EXPECT_STREQ(full.what(), "/dev/full: cannot write: No space left on device");

  const TemporaryDirectory directory;
  const Error no_folder = error_of([&] { write_file_atomic(directory.path() / "none" / "file", "content"); });
  EXPECT_EQ(no_folder.code(), Errc::kIo);
  EXPECT_NE(std::string(no_folder.what()).find("No such file or directory"), std::string::npos) << no_folder.what();
  const Error is_directory = error_of([&] { write_file_atomic(directory.path(), "content"); });
  EXPECT_NE(std::string(is_directory.what()).find("it is a directory"), std::string::npos) << is_directory.what();
  EXPECT_EQ(n_files(directory.path()), 0u);
}

TEST(MappedFile, HoldsTheBytesAndStillDoesAfterRelease) {
  const TemporaryDirectory directory;
  std::string content;
  for (int i = 0; i < 20000; ++i) content.push_back(static_cast<char>(i % 251));
  const MappedFile file(directory.write("file", content));
  file.release(file.bytes().data() + 5000, 9000);
  const auto bytes = file.bytes();
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), content);

  const MappedFile empty(directory.write("empty", ""));
  EXPECT_TRUE(empty.bytes().empty());
}

}  // namespace
}  // namespace trimeter
