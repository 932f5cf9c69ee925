#include "base/cpu.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "base/error.h"

namespace trimeter {
namespace {

Isa probe_isa() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("avx");
  if (!avx2) return Isa::kScalar;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return Isa::kAvx2;
  const bool bf16 = __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") &&
                    __builtin_cpu_supports("avx512vbmi");
  return bf16 ? Isa::kAvx512Bf16 : Isa::kAvx512;
}

int64_t memory_limit() {
  const int64_t machine = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  std::ifstream cgroup("/sys/fs/cgroup/memory.max");
  int64_t limit = 0;
  if (cgroup >> limit && limit > 0) return std::min(machine, limit);
  return machine;
}

int count_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::string model_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown CPU";
}

CpuInfo probe() {
  CpuInfo info;
  info.model = model_name();
  info.n_cpus = count_cpus();
  info.memory_bytes = memory_limit();
  info.l1d_bytes = std::max(0L, sysconf(_SC_LEVEL1_DCACHE_SIZE));
  info.l2_bytes = std::max(0L, sysconf(_SC_LEVEL2_CACHE_SIZE));
  info.l3_bytes = std::max(0L, sysconf(_SC_LEVEL3_CACHE_SIZE));
  info.best_isa = probe_isa();
  return info;
}

}  // namespace

std::string_view name(Isa isa) {
  static constexpr std::string_view kNames[] = {"scalar", "avx2", "avx512", "avx512_bf16"};
  return kNames[static_cast<int>(isa)];
}

const CpuInfo& cpu_info() {
  static const CpuInfo info = probe();
  return info;
}

Isa active_isa() {
  const char* wish = std::getenv("TRIMETER_ISA");
  if (wish == nullptr || *wish == 0) return cpu_info().best_isa;
  for (const Isa isa : kAllIsas) {
    if (name(isa) != wish) continue;
    if (isa > cpu_info().best_isa)
      throw Error(Errc::kUnsupported, "TRIMETER_ISA={}: this CPU ({}) has {} at best", wish, cpu_info().model,
                  name(cpu_info().best_isa));
    return isa;
  }
  throw Error(Errc::kBadArgument, "TRIMETER_ISA={}: wanted scalar, avx2, avx512 or avx512_bf16", wish);
}

std::vector<Isa> runnable_isas() {
  std::vector<Isa> isas;
  for (const Isa isa : kAllIsas)
    if (isa <= cpu_info().best_isa) isas.push_back(isa);
  return isas;
}

}  // namespace trimeter
