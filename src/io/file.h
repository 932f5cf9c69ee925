// Files in and out.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace trimeter {

// Reads a whole text file; refuses more than max_bytes. Throws Error(kNotFound / kIo / kBadFile) with the path.
std::string read_file(const std::filesystem::path& path, int64_t max_bytes = int64_t{1} << 30);

// Writes beside the place, syncs, renames: a reader sees the old file or the whole new one, and a failure (a full disk)
// leaves neither a half-written file nor the temporary one. Throws Error(kIo) with path and the system's reason.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);
// Whether that could begin now: makes the temporary file and removes it. Throws as it does.
void check_writable(const std::filesystem::path& path);

// The same for what is too large to hold: written piece by piece beside its place; commit() puts it there. Without
// commit nothing is left. A device or a pipe, which has no old content to keep, is written in place.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(std::span<const std::byte> bytes);
  int64_t size() const { return size_; }  // bytes written so far
  void commit();

 private:
  [[noreturn]] void fail_to_write() const;
  std::filesystem::path path_, target_, temporary_;  // temporary_ is empty when written in place
  int fd_ = -1;
  int64_t size_ = 0;
};

// A file mapped read-only. Pages come from the page cache: mapping is not a copy.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const std::byte> bytes() const { return {data_, static_cast<size_t>(size_)}; }
  const std::filesystem::path& path() const { return path_; }
  // Tells the system that this range has been read for good, so that it no longer counts as resident here.
  void release(const std::byte* begin, int64_t n_bytes) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace trimeter
