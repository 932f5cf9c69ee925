#include "probe/read_rate.h"

#include <cstring>

#include "base/cpu.h"
#include "probe/micro_table.h"
#include "probe/team_time.h"

namespace trimeter {

ReadProbe::ReadProbe(int64_t most_bytes) : memory_(most_bytes, "read probe") {
  std::memset(memory_.data(), 1, static_cast<size_t>(memory_.size()));  // pages of zeros may all be one
}

double ReadProbe::bytes_per_s(ThreadPool& team, int64_t bytes) const {
  const int64_t size = bytes / kReadUnit * kReadUnit;
  const MicroTable& micro = micro_table(active_isa());
  const double seconds = median(times_per_call(
      team,
      [&](int thread) {
        const auto [begin, end] = team.share(size, thread, kReadUnit);
        unused_sum = micro.read(memory_.as<char>() + begin, end - begin);
      },
      1e-3, 5));
  return static_cast<double>(size) / seconds;
}

}  // namespace trimeter
