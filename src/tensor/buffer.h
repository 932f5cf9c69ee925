// Owned, 64-byte aligned, zeroed memory. Every large block of memory the engine takes is one of these, so the memory
// meter counts what was taken and not what somebody computed.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace trimeter {

class ThreadPool;

class Buffer {
 public:
  Buffer() = default;
  // Throws Error(kNoMemory) naming `what` when the system refuses. Large buffers are mapped and ask for huge pages.
  explicit Buffer(int64_t bytes, const char* what = "buffer");
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  // Zeroes all of it, so that every page is really there: a KV pool that is promised must not fail later.
  void prefault(ThreadPool& threads);

  int64_t size() const { return size_; }  // bytes asked for
  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
  bool mapped_ = false;
};

// A piece of scratch memory handed out front to back and taken back all at once; remembers the most that was in use.
// The ledger's activation term is checked against high_water_bytes().
class Arena {
 public:
  explicit Arena(int64_t bytes, const char* what = "arena");
  // 64-byte aligned; a request beyond the end is a bug in the ledger and aborts with `what`.
  template <class T>
  T* take(int64_t count) {
    return reinterpret_cast<T*>(take_bytes(count * static_cast<int64_t>(sizeof(T))));
  }
  // What take(count) uses of the arena: the rounding is part of the ledger.
  static constexpr int64_t bytes_for(int64_t bytes) { return (bytes + 63) / 64 * 64; }
  // Takes back everything beyond the first used_bytes (an earlier used_bytes()).
  void reset(int64_t used_bytes = 0) { used_ = used_bytes; }
  int64_t used_bytes() const { return used_; }
  int64_t high_water_bytes() const { return high_water_; }
  int64_t capacity_bytes() const { return buffer_.size(); }

 private:
  std::byte* take_bytes(int64_t bytes);
  Buffer buffer_;
  const char* what_;
  int64_t used_ = 0, high_water_ = 0;
};

}  // namespace trimeter
