// What computes: this CPU's kernels of an ISA, or a card of a compute capability. Predictions ask with it for machines
// that are not here.
#pragma once
#include <string>

#include "base/cpu.h"

namespace trimeter {

struct Target {
  Target(Isa cpu) : isa(cpu) {}  // NOLINT: an ISA is a target
  static Target gpu(int compute_capability) {
    Target target(Isa::kScalar);
    target.compute_capability = compute_capability;
    return target;
  }
  bool is_gpu() const { return compute_capability != 0; }

  Isa isa;                     // of a CPU
  int compute_capability = 0;  // of a card, 10 * major + minor; 0: a CPU
};

inline std::string name(Target target) {  // "avx512", "sm_90"
  return target.is_gpu() ? "sm_" + std::to_string(target.compute_capability) : std::string(name(target.isa));
}

}  // namespace trimeter
