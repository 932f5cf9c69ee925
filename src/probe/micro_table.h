// The loops that find what a core can do, one set per ISA, in plain types.
#pragma once
#include <stdint.h>

#include "base/cpu.h"

namespace trimeter {

// Runs n rounds of independent multiply-adds in registers; the result keeps the compiler from dropping them.
struct DotLoop {
  uint64_t (*run)(int64_t n_rounds);  // nullptr: the ISA has no such instruction
  double ops_per_round;               // multiply and add counted apart
};

struct MicroTable {
  DotLoop bf16, int8, fp32;
  // Reads every vector of `bytes` (a multiple of 512) once and returns a sum of them.
  uint64_t (*read)(const char* data, int64_t bytes);
};
inline constexpr int64_t kReadUnit = 512;  // bytes
const MicroTable& micro_table(Isa isa);
// What the loops return goes here, so that they are not dropped.
extern volatile uint64_t unused_sum;

}  // namespace trimeter

namespace trimeter::scalar {
extern const MicroTable micro;
}
namespace trimeter::avx2 {
extern const MicroTable micro;
}
namespace trimeter::avx512 {
extern const MicroTable micro;
}
namespace trimeter::avx512_bf16 {
extern const MicroTable micro;
}
