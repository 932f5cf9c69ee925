// Read bandwidth at this moment over a working set of a given size, to stand beside what was measured a moment ago: a
// shared machine's memory is not as fast from one second to the next.
#pragma once
#include "base/thread_pool.h"
#include "tensor/buffer.h"

namespace trimeter {

class ReadProbe {
 public:
  explicit ReadProbe(int64_t most_bytes);
  // Of the whole team streaming through the first `bytes` again and again: the median of five passes, in bytes/s.
  double bytes_per_s(ThreadPool& team, int64_t bytes) const;

 private:
  Buffer memory_;
};

}  // namespace trimeter
