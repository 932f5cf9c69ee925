#include "lab/output_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "io/file.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

std::string error_of(const fs::path& path, bool force = false) {
  try {
    OutputFile(path, kRecordMark, force);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(OutputFile, ReplacesOnlyWhatIsItsOwnUnlessForced) {
  const TemporaryDirectory directory;
  const fs::path foreign = directory.write("model.json", "{\"weights\": 1}");
  EXPECT_EQ(error_of(foreign), foreign.string() + ": exists, and this program did not write it; --force overwrites it");
  EXPECT_EQ(error_of(foreign, true), "");
  EXPECT_EQ(error_of(directory.write("r.json", "{\n  \"schema\": 1,\n  \"trimeter\": {")), "");
  EXPECT_EQ(error_of(directory.write("empty.json", "")), "");
  EXPECT_EQ(error_of(directory.path() / "new.json"), "");
  EXPECT_FALSE(fs::exists(directory.path() / "new.json"));  // nothing is there before it is whole
}

TEST(OutputFile, WritesAtTheEnd) {
  const TemporaryDirectory directory;
  const OutputFile file(directory.path() / "r.json", kRecordMark, false);
  file.write("content");
  EXPECT_EQ(read_file(directory.path() / "r.json"), "content");
}

TEST(OutputFile, FindsTroubleBeforeTheRun) {
  const TemporaryDirectory directory;
  EXPECT_EQ(error_of(directory.path()), directory.path().string() + ": cannot write: it is a directory");
  const fs::path missing = directory.path() / "no" / "r.json";
  EXPECT_EQ(error_of(missing),
            missing.string() + ": cannot write: there is no directory " + missing.parent_path().string());
  EXPECT_NE(error_of("/proc/r.json").find("/proc/r.json: cannot create"), std::string::npos)
      << error_of("/proc/r.json");
  const fs::path long_name = directory.path() / std::string(255, 'x');  // no room for the temporary file's ending
  EXPECT_NE(error_of(long_name).find("File name too long"), std::string::npos);
  EXPECT_TRUE(fs::is_empty(directory.path()));
  if (::geteuid() != 0) {  // root may write anywhere
    fs::permissions(directory.path(), fs::perms::owner_read | fs::perms::owner_exec);
    EXPECT_NE(error_of(directory.path() / "r.json").find("Permission denied"), std::string::npos);
    fs::permissions(directory.path(), fs::perms::owner_all);
  }
}

TEST(OutputFile, AFullDiskIsAnError) {
  const OutputFile file("/dev/full", kRecordMark, false);
  EXPECT_THROW(file.write("content"), Error);
}

}  // namespace
}  // namespace trimeter
