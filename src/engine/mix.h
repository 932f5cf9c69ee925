#pragma once
#include <cstdint>

namespace trimeter {

// The output function of SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195; constants: Stafford's
// Mix13): a bijection of 64-bit words in which every input bit changes each output bit with probability close to 1/2.
constexpr uint64_t mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

}  // namespace trimeter
