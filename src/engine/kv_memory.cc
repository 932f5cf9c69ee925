#include "engine/kv_memory.h"

#include "base/error.h"

namespace trimeter {

int KvMemory::add_user(int64_t bytes) {
  TM_CHECK(!working_, "the KV memory can't grow under user {} who works in it", last_user_);
  if (bytes > buffer_.size()) {
    buffer_ = Buffer();  // first, so that the two are never there together
    buffer_ = Buffer(bytes, "KV cache", true);
    last_user_ = -1;
  }
  return n_users_++;
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
