#include "tensor/buffer.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/thread_pool.h"

namespace trimeter {
namespace {

constexpr int64_t kMapFrom = int64_t{1} << 21;  // a huge page

}  // namespace

Buffer::Buffer(int64_t bytes, const char* what) : size_(bytes) {
  TM_CHECK(bytes >= 0, "{}: {} bytes", what, bytes);
  if (bytes == 0) return;
  mapped_ = bytes >= kMapFrom;
  if (mapped_) {
    void* p = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw Error(Errc::kNoMemory, "{}: the system refused {} bytes", what, bytes);
    data_ = static_cast<std::byte*>(p);
    madvise(p, static_cast<size_t>(bytes), MADV_HUGEPAGE);  // a wish: the result is the same without
  } else {
    data_ = static_cast<std::byte*>(std::aligned_alloc(64, static_cast<size_t>((bytes + 63) / 64 * 64)));
    if (data_ == nullptr) throw Error(Errc::kNoMemory, "{}: the system refused {} bytes", what, bytes);
    std::memset(data_, 0, static_cast<size_t>(bytes));
  }
}

void Buffer::prefault(ThreadPool& threads) {
  threads.run([&](int thread) {
    const auto [begin, end] = threads.share(size_, thread, kMapFrom);
    if (begin < end) std::memset(data_ + begin, 0, static_cast<size_t>(end - begin));
  });
}

Buffer::~Buffer() {
  if (mapped_)
    munmap(data_, static_cast<size_t>(size_));
  else
    std::free(data_);
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_(std::exchange(other.mapped_, false)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

Arena::Arena(int64_t bytes, const char* what) : buffer_(bytes, what), what_(what) {}

std::byte* Arena::take_bytes(int64_t bytes) {
  const int64_t begin = used_;
  used_ += bytes_for(bytes);
  TM_CHECK(used_ <= buffer_.size(), "{}: {} bytes taken of {}", what_, used_, buffer_.size());
  high_water_ = std::max(high_water_, used_);
  return buffer_.data() + begin;
}

}  // namespace trimeter
