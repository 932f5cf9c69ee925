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

// One instance of the data cache of this level, as sysfs has it: glibc's sysconf takes AMD's L3 of all cores together
// for one, and on virtual machines gets even that wrong.
int64_t cache_bytes(int level) {
  for (int index = 0;; ++index) {
    const std::string place = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    int its_level = 0;
    std::string type, size;
    if (!(std::ifstream(place + "level") >> its_level)) return 0;
    std::ifstream(place + "type") >> type;
    std::ifstream(place + "size") >> size;  // "32768K"
    if (its_level == level && type != "Instruction") return std::strtoll(size.c_str(), nullptr, 10) * 1024;
  }
}

CpuInfo probe() {
  CpuInfo info;
  info.model = model_name();
  info.n_cpus = count_cpus();
  info.memory_bytes = memory_limit();
  info.l1d_bytes = cache_bytes(1);
  info.l2_bytes = cache_bytes(2);
  info.l3_bytes = cache_bytes(3);
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
