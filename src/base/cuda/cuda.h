// The CUDA runtime with owners and errors. Files in a folder named cuda/ are compiled with TRIMETER_CUDA alone.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <utility>

// Throws Error(kNoMemory) if the device has no memory left, otherwise Error(kIo): call, what CUDA says of it, device,
// file and line.
#define TM_CUDA_CHECK(call) ::trimeter::cuda::check((call), #call, __FILE__, __LINE__)

namespace trimeter::cuda {

void check(cudaError_t status, const char* call, const char* file, int line);

// Bytes that all DeviceBuffers of this process hold now, and the most they ever held.
struct DeviceBytes {
  int64_t now = 0, peak = 0;
};
DeviceBytes device_bytes();

struct DeviceMemory {
  int64_t free_bytes = 0, total_bytes = 0;  // as the driver reports them, everybody's use counted
};
DeviceMemory device_memory();

// Device memory of the current device, not zeroed; empty if bytes is 0.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Throws Error(kNoMemory) naming `what` and the bytes that are free.
  DeviceBuffer(int64_t bytes, const char* what);
  ~DeviceBuffer();
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)), is_part_(other.is_part_) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(is_part_, other.is_part_);
    return *this;
  }

  int64_t size() const { return size_; }  // bytes asked for
  std::byte* data() const { return data_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  friend class DeviceArena;
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
  bool is_part_ = false;  // of an arena, which must outlive it
};

// One allocation for many buffers: the driver rounds each of its own up to 2 MiB.
class DeviceArena {
 public:
  DeviceArena() = default;
  // Throws Error(kNoMemory) as DeviceBuffer. It counts in device_bytes() as far as it is taken.
  DeviceArena(int64_t bytes, const char* what);
  ~DeviceArena();
  DeviceArena(DeviceArena&& other) noexcept { *this = std::move(other); }
  DeviceArena& operator=(DeviceArena&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(at_, other.at_);
    std::swap(size_, other.size_);
    return *this;
  }
  // 256-byte aligned; an allocation of its own once the arena is full.
  DeviceBuffer take(int64_t bytes, const char* what);
  static constexpr int64_t kAlignment = 256;

 private:
  std::byte* data_ = nullptr;
  int64_t at_ = 0, size_ = 0;
};

// Host memory that the card copies from and to without a stop in between.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  PinnedBuffer(int64_t bytes, const char* what);
  ~PinnedBuffer();
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  int64_t size() const { return size_; }
  std::byte* data() const { return data_; }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  std::byte* data_ = nullptr;
  int64_t size_ = 0;
};

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(Stream&&) = delete;
  cudaStream_t get() const { return stream_; }
  void synchronize() const { TM_CUDA_CHECK(cudaStreamSynchronize(stream_)); }

 private:
  cudaStream_t stream_ = nullptr;
};

class Event {
 public:
  Event();
  ~Event();
  Event(Event&&) = delete;
  void record(const Stream& stream) const { TM_CUDA_CHECK(cudaEventRecord(event_, stream.get())); }
  void synchronize() const { TM_CUDA_CHECK(cudaEventSynchronize(event_)); }
  double seconds_since(const Event& begin) const;  // both must have happened

 private:
  cudaEvent_t event_ = nullptr;
};

// A sequence of launches, recorded once and launched as one.
class Graph {
 public:
  Graph() = default;
  ~Graph();
  Graph(Graph&& other) noexcept : executable_(std::exchange(other.executable_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(executable_, other.executable_);
    return *this;
  }
  // Records what `launch()` puts into the stream, which does not run.
  template <class Launch>
  void capture(const Stream& stream, Launch&& launch) {
    begin_capture(stream);
    launch();
    end_capture(stream);
  }
  bool empty() const { return executable_ == nullptr; }
  void launch(const Stream& stream) const { TM_CUDA_CHECK(cudaGraphLaunch(executable_, stream.get())); }

 private:
  static void begin_capture(const Stream& stream);
  void end_capture(const Stream& stream);
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace trimeter::cuda
