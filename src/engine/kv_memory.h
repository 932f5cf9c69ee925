#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tensor/buffer.h"

namespace trimeter {

// The bytes of a KV pool, every page really there. Engines that never work at the same time (the formats of a
// comparison, round by round) can share one: it grows to the largest wish, and tells a user when another one has
// written since.
class KvMemory {
 public:
  virtual ~KvMemory() = default;
  // A new user with this many bytes. Growing loses what anybody had in it; not while somebody works.
  // Throws Error(kNoMemory) if the system refuses.
  int add_user(int64_t bytes, ThreadPool& threads);
  // `user` starts to work. True if what it left here is lost. Nobody else may be at work.
  bool begin(int user);
  void end(int user);

  // What is the user's: the first bytes of the buffer, as many as it asked for. Moves when the buffer grows.
  std::span<std::byte> of(int user);
  int64_t bytes() const { return bytes_; }

 private:
  // Gives back what there is, so that the two are never there together, and takes this many. A card has its own.
  virtual std::byte* take(int64_t bytes, ThreadPool& threads);

  Buffer buffer_;
  std::byte* data_ = nullptr;
  int64_t bytes_ = 0;
  std::vector<size_t> users_;  // bytes of each
  int last_user_ = -1;
  bool working_ = false;
};

// On the current device, for make_cuda_backend's runners. Only with TRIMETER_CUDA.
std::shared_ptr<KvMemory> make_device_kv_memory();

}  // namespace trimeter
