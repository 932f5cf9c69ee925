#include "io/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/error.h"
#include "io/unfinished.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const char* what) {
  const int error = errno;
  throw Error(error == ENOENT || error == ENOTDIR ? Errc::kNotFound : Errc::kIo, "{}: cannot {}: {}", path.string(),
              what, std::strerror(error));
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  ~FileDescriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// O_NONBLOCK: opening a FIFO must not wait for its writer; on a regular file it means nothing.
int open_to_read(const fs::path& path) { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }

int64_t size_of_regular(const FileDescriptor& file, const fs::path& path) {
  if (file.get() < 0) fail(path, "open");
  struct stat status;
  if (fstat(file.get(), &status) != 0) fail(path, "stat");
  if (!S_ISREG(status.st_mode))
    throw Error(Errc::kBadFile, "{}: wanted a regular file, got {}", path.string(),
                S_ISDIR(status.st_mode) ? "a directory" : "a device, socket or pipe");
  return status.st_size;
}

}  // namespace

std::string read_file(const fs::path& path, int64_t max_bytes) {
  const FileDescriptor file(open_to_read(path));
  const int64_t size = size_of_regular(file, path);
  if (size > max_bytes)
    throw Error(Errc::kBadFile, "{}: wanted at most {} bytes, got {}", path.string(), max_bytes, size);
  std::string content(static_cast<size_t>(size), '\0');
  size_t n_read = 0;
  while (n_read < content.size()) {
    const ssize_t n = ::read(file.get(), content.data() + n_read, content.size() - n_read);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "read");
    if (n == 0)
      throw Error(Errc::kIo, "{}: it became shorter while being read: wanted {} bytes, got {}", path.string(), size,
                  n_read);
    n_read += static_cast<size_t>(n);
  }
  return content;
}

void write_file_atomic(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(content)));
  file.commit();
}

void check_writable(const fs::path& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (!fs::exists(status) || fs::is_regular_file(status) || fs::is_directory(status)) {
    const AtomicFile tried(path);
  } else if (::access(path.c_str(), W_OK) != 0) {  // not opened: closing a pipe would end it for its reader
    throw Error(Errc::kIo, "{}: cannot write: {}", path.string(), std::strerror(errno));
  }
}

AtomicFile::AtomicFile(const fs::path& path) : path_(path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  if (fs::is_directory(status)) throw Error(Errc::kIo, "{}: cannot write: it is a directory", path.string());
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd_ < 0) fail(path, "open for writing");
    return;
  }
  // A link to a file stays a link: what it points to is replaced.
  target_ = fs::is_regular_file(status) ? fs::canonical(path, ignored) : path;
  temporary_ = fmt::format("{}.{}.tmp", target_.string(), getpid());
  begin_unfinished(temporary_);
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (fd_ >= 0) return;
  const int error = errno;
  end_unfinished(temporary_);
  throw Error(Errc::kIo, "{}: cannot create {}: {}", path.string(), temporary_.string(), std::strerror(error));
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) {
    ::close(fd_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
  }
  if (!temporary_.empty()) end_unfinished(temporary_);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  size_ += static_cast<int64_t>(bytes.size());
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_to_write();
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void AtomicFile::commit() {
  if (temporary_.empty()) {
    if (::close(std::exchange(fd_, -1)) != 0) fail_to_write();
    return;
  }
  if (::fsync(fd_) != 0 || std::rename(temporary_.c_str(), target_.c_str()) != 0) fail_to_write();
  ::close(std::exchange(fd_, -1));
  // The content is safe already; this makes the name so as well, where the file system can.
  const fs::path parent = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
  const FileDescriptor directory(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) ::fsync(directory.get());
}

void AtomicFile::fail_to_write() const {
  if (temporary_.empty()) fail(path_, "write");
  throw Error(Errc::kIo, "{}: cannot write {} bytes: {}", path_.string(), size_, std::strerror(errno));
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const FileDescriptor file(open_to_read(path));
  size_ = size_of_regular(file, path);
  if (size_ == 0) return;
  void* data = mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) fail(path, "map");
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), static_cast<size_t>(size_));
}

void MappedFile::release(const std::byte* begin, int64_t n_bytes) const {
  const int64_t offset = begin - data_;
  TM_CHECK(offset >= 0 && n_bytes >= 0 && offset + n_bytes <= size_, "{}: bytes {} + {} of {}", path_.string(), offset,
           n_bytes, size_);
  if (n_bytes == 0) return;
  // Outward to whole pages: a neighbour's bytes in them are read again from the page cache.
  const int64_t first = offset / sysconf(_SC_PAGESIZE) * sysconf(_SC_PAGESIZE);
  madvise(const_cast<std::byte*>(data_) + first, static_cast<size_t>(offset + n_bytes - first), MADV_DONTNEED);
}

}  // namespace trimeter
