#include "base/cuda/cuda.h"

#include <algorithm>
#include <atomic>

#include "base/error.h"

namespace trimeter::cuda {
namespace {

std::atomic<int64_t> bytes_now{0}, bytes_peak{0};

void count(int64_t bytes) {
  const int64_t now = bytes_now += bytes;
  int64_t peak = bytes_peak;
  while (now > peak && !bytes_peak.compare_exchange_weak(peak, now)) {
  }
}

// nullptr for no bytes.
std::byte* allocate(int64_t bytes, const char* what) {
  TM_CHECK(bytes >= 0, "{} of {} bytes", what, bytes);
  if (bytes == 0) return nullptr;
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, static_cast<size_t>(bytes));
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());
    throw Error(Errc::kNoMemory, "CUDA device: {}: wanted {} bytes, got none of the {} that are free", what, bytes,
                device_memory().free_bytes);
  }
  TM_CUDA_CHECK(status);
  return static_cast<std::byte*>(data);
}

// Destructors can't throw, and a process that ends takes its context down before its statics.
void ignore(cudaError_t) {}

}  // namespace

void check(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) [[likely]]
    return;
  int device = -1;
  ignore(cudaGetDevice(&device));
  ignore(cudaGetLastError());  // one that is not sticky would be reported again by the next check
  throw Error(status == cudaErrorMemoryAllocation ? Errc::kNoMemory : Errc::kIo,
              "CUDA device {}: {} ({}) from {} at {}:{}", device, cudaGetErrorString(status), cudaGetErrorName(status),
              call, file, line);
}

DeviceBytes device_bytes() { return {bytes_now, bytes_peak}; }

DeviceMemory device_memory() {
  size_t free_bytes = 0, total_bytes = 0;
  TM_CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  return {static_cast<int64_t>(free_bytes), static_cast<int64_t>(total_bytes)};
}

DeviceBuffer::DeviceBuffer(int64_t bytes, const char* what) : data_(allocate(bytes, what)), size_(bytes) {
  count(size_);
}

DeviceBuffer::~DeviceBuffer() {
  if (data_ == nullptr) return;
  if (!is_part_) ignore(cudaFree(data_));
  count(-size_);
}

DeviceArena::DeviceArena(int64_t bytes, const char* what) : data_(allocate(bytes, what)), size_(bytes) {}

DeviceArena::~DeviceArena() {
  if (data_ != nullptr) ignore(cudaFree(data_));
}

DeviceBuffer DeviceArena::take(int64_t bytes, const char* what) {
  TM_CHECK(bytes >= 0, "{} of {} bytes", what, bytes);
  if (bytes == 0 || bytes > size_ - at_) return DeviceBuffer(bytes, what);
  DeviceBuffer part;
  part.data_ = data_ + at_;
  part.size_ = bytes;
  part.is_part_ = true;
  count(bytes);
  at_ = std::min(size_, (at_ + bytes + kAlignment - 1) / kAlignment * kAlignment);
  return part;
}

PinnedBuffer::PinnedBuffer(int64_t bytes, const char* what) : size_(bytes) {
  TM_CHECK(bytes >= 0, "{} of {} bytes", what, bytes);
  if (bytes == 0) return;
  void* data = nullptr;
  TM_CUDA_CHECK(cudaMallocHost(&data, static_cast<size_t>(bytes)));
  data_ = static_cast<std::byte*>(data);
}

PinnedBuffer::~PinnedBuffer() {
  if (data_ != nullptr) ignore(cudaFreeHost(data_));
}

Stream::Stream() { TM_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
Stream::~Stream() { ignore(cudaStreamDestroy(stream_)); }

Event::Event() { TM_CUDA_CHECK(cudaEventCreate(&event_)); }
Event::~Event() { ignore(cudaEventDestroy(event_)); }

double Event::seconds_since(const Event& begin) const {
  float milliseconds = 0;
  TM_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin.event_, event_));
  return milliseconds * 1e-3;
}

Graph::~Graph() {
  if (executable_ != nullptr) ignore(cudaGraphExecDestroy(executable_));
}

void Graph::begin_capture(const Stream& stream) {
  TM_CUDA_CHECK(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal));
}

void Graph::end_capture(const Stream& stream) {
  cudaGraph_t graph = nullptr;
  TM_CUDA_CHECK(cudaStreamEndCapture(stream.get(), &graph));
  const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
  ignore(cudaGraphDestroy(graph));
  TM_CUDA_CHECK(status);
}

}  // namespace trimeter::cuda
