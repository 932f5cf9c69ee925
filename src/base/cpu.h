// What this CPU is and which of our instruction-set levels it runs.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trimeter {

// Ordered: a CPU that has one level has all below it.
enum class Isa {
  kScalar,      // plain C++: the reference
  kAvx2,        // AVX2, FMA, F16C
  kAvx512,      // AVX-512 F, BW, DQ, VL (Skylake-X on)
  kAvx512Bf16,  // and VNNI, BF16, VBMI (Sapphire Rapids, Zen 4 on)
};
inline constexpr Isa kAllIsas[] = {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16};

std::string_view name(Isa isa);  // "scalar", "avx2", "avx512", "avx512_bf16"

struct CpuInfo {
  std::string model;          // as /proc/cpuinfo has it
  int n_cpus = 1;             // CPUs this process may run on
  int64_t memory_bytes = 0;   // of the machine, or of the cgroup if that is smaller
  int64_t l1d_bytes = 0, l2_bytes = 0, l3_bytes = 0;  // one instance of each; 0 where unknown
  Isa best_isa = Isa::kScalar;
};

const CpuInfo& cpu_info();

// TRIMETER_ISA if it is set, otherwise the best. A wish this CPU can't fulfil, or no such name, throws Error: it is never
// answered with another ISA.
Isa active_isa();
// The ISAs this CPU runs, worst first: what a test walks over.
std::vector<Isa> runnable_isas();

}  // namespace trimeter
