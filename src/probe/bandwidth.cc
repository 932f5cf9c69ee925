#include <algorithm>
#include <cstring>
#include <set>

#include "probe/micro_table.h"
#include "probe/parts.h"
#include "probe/team_time.h"
#include "tensor/buffer.h"

namespace trimeter {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

// Half of L2, some sizes within L3, and four and more times L3, where next to nothing is found in it again.
std::set<int64_t> working_sets(const HardwareProfile& profile) {
  const int64_t l2 = profile.l2_bytes > 0 ? profile.l2_bytes : kMiB;
  const int64_t l3 = profile.l3_bytes > 0 ? profile.l3_bytes : 32 * kMiB;
  const int64_t beyond = std::max(256 * kMiB, 4 * l3);
  return {l2 / 2, 4 * kMiB, 8 * kMiB, 16 * kMiB, l3 * 3 / 4, 2 * l3, beyond};
}

std::set<int> thread_counts(int n_threads) {
  std::set<int> counts = {n_threads};
  for (int n = 1; n < n_threads; n *= 2) counts.insert(n);
  return counts;
}

}  // namespace

volatile uint64_t unused_sum;

const MicroTable& micro_table(Isa isa) {
  static constexpr const MicroTable* kTables[] = {&scalar::micro, &avx2::micro, &avx512::micro, &avx512_bf16::micro};
  return *kTables[static_cast<size_t>(isa)];
}

void measure_bandwidth(HardwareProfile& profile, Isa isa) {
  const std::set<int64_t> sizes = working_sets(profile);
  Buffer memory(*sizes.rbegin(), "bandwidth probe");
  std::memset(memory.data(), 1, static_cast<size_t>(memory.size()));
  for (const int threads : thread_counts(profile.threads)) {
    ThreadPool team(threads);
    for (const int64_t bytes : sizes) {
      const double seconds = time_per_call(
          team,
          [&](int thread) {
            const auto [begin, end] = team.share(bytes, thread, kReadUnit);
            unused_sum = micro_table(isa).read(reinterpret_cast<const char*>(memory.data()) + begin,
                                               (end - begin) / kReadUnit * kReadUnit);
          },
          1e-3, 5);
      profile.read_bandwidth.push_back({bytes, threads, static_cast<double>(bytes) / seconds});
    }
  }
}

void measure_dot_rates(HardwareProfile& profile, ThreadPool& team, Isa isa) {
  const std::pair<const char*, DotLoop> loops[] = {
      {"bf16", micro_table(isa).bf16}, {"int8", micro_table(isa).int8}, {"fp32", micro_table(isa).fp32}};
  constexpr int64_t kRounds = 20000;
  for (const auto& [arithmetic, loop] : loops) {
    if (loop.run == nullptr) continue;
    const double seconds = time_per_call(team, [&, run = loop.run](int) { unused_sum = run(kRounds); });
    profile.rates[arithmetic] = team.size() * kRounds * loop.ops_per_round / seconds;
  }
}

}  // namespace trimeter
