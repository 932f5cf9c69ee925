#include "lab/output_directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "io/unfinished.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

// Without a slash at the end, so that it has a name and a parent.
fs::path with_a_name(fs::path path) {
  path = path.lexically_normal();
  return path.has_filename() ? path : path.parent_path();
}

fs::path parent_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

void rename_or_throw(const fs::path& from, const fs::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0)
    throw Error(Errc::kIo, "{}: cannot rename to {}: {}", from.string(), to.string(), std::strerror(errno));
}

}  // namespace

void check_output_directory(const fs::path& wanted, bool force) {
  const fs::path path = with_a_name(wanted);
  std::error_code ignored;
  const fs::file_status status = fs::symlink_status(path, ignored);
  if (fs::exists(status) && !fs::is_directory(status))
    throw Error(Errc::kBadArgument, "{}: cannot write: it is not a directory", path.string());
  if (fs::exists(status) && !fs::is_empty(path, ignored)) {
    if (!fs::exists(path / "config.json", ignored))
      throw Error(Errc::kBadArgument, "{}: cannot write: wanted a new or empty directory, or a model's, got another",
                  path.string());
    if (!force)
      throw Error(Errc::kBadArgument, "{}: exists and is not empty; --force replaces the model in it", path.string());
  }
  const fs::path parent = parent_of(path);
  if (!fs::is_directory(parent, ignored))
    throw Error(Errc::kIo, "{}: cannot write: there is no directory {}", path.string(), parent.string());
  if (::access(parent.c_str(), W_OK | X_OK) != 0)
    throw Error(Errc::kIo, "{}: cannot write into {}: {}", path.string(), parent.string(), std::strerror(errno));
}

OutputDirectory::OutputDirectory(fs::path path, bool force) : path_(with_a_name(std::move(path))) {
  check_output_directory(path_, force);
  temporary_ = parent_of(path_) / fmt::format(".{}.{}.tmp", path_.filename().string(), getpid());
  begin_unfinished(temporary_);
  std::error_code error;
  if (fs::create_directory(temporary_, error)) return;
  end_unfinished(temporary_);
  throw Error(Errc::kIo, "{}: cannot create: {}", temporary_.string(), error ? error.message() : "it exists");
}

OutputDirectory::~OutputDirectory() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(temporary_, ignored);
  end_unfinished(temporary_);
}

void OutputDirectory::commit() {
  std::error_code error;
  const fs::path old = parent_of(path_) / fmt::format(".{}.{}.old", path_.filename().string(), getpid());
  const bool replaces = fs::exists(path_, error);
  std::unique_lock lock = hold_signals();  // so that there is one of the two
  if (replaces) rename_or_throw(path_, old);
  try {
    rename_or_throw(temporary_, path_);
  } catch (const Error&) {
    if (replaces) std::rename(old.c_str(), path_.c_str());
    throw;
  }
  committed_ = true;
  if (replaces) fs::remove_all(old, error);
  lock.unlock();
  const int parent = ::open(parent_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (parent >= 0) {
    ::fsync(parent);
    ::close(parent);
  }
}

}  // namespace trimeter
