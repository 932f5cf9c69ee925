#include "engine/kv_memory.h"

#include "base/error.h"

namespace trimeter {

int KvMemory::add_user(int64_t bytes, ThreadPool& threads) {
  TM_CHECK(!working_, "the KV memory can't grow under user {} who works in it", last_user_);
  if (bytes > bytes_) {
    bytes_ = 0;
    data_ = take(bytes, threads);
    bytes_ = bytes;
    last_user_ = -1;
  }
  users_.push_back(static_cast<size_t>(bytes));
  return static_cast<int>(users_.size()) - 1;
}

std::span<std::byte> KvMemory::of(int user) {
  const size_t bytes = users_.at(static_cast<size_t>(user));
  TM_CHECK(static_cast<int64_t>(bytes) <= bytes_, "user {} has {} bytes of a buffer of {}", user, bytes, bytes_);
  return {data_, bytes};
}

std::byte* KvMemory::take(int64_t bytes, ThreadPool& threads) {
  buffer_ = Buffer();
  buffer_ = Buffer(bytes, "KV cache");
  buffer_.prefault(threads);
  return buffer_.data();
}

bool KvMemory::begin(int user) {
  TM_CHECK(!working_ || last_user_ == user, "user {} begins while user {} works in the same KV memory", user,
           last_user_);
  const bool lost = last_user_ != user;
  last_user_ = user;
  working_ = true;
  return lost;
}

void KvMemory::end(int user) {
  TM_CHECK(working_ && last_user_ == user, "user {} ends, and user {} was the last to begin", user, last_user_);
  working_ = false;
}

}  // namespace trimeter
