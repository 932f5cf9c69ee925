// The tensor types of GGUF files: number, name and block of each (ggml's enum ggml_type).
#pragma once
#include <cstdint>
#include <string_view>

namespace trimeter {

enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kBF16 = 30,
};

struct GgmlTypeInfo {
  uint32_t number;
  std::string_view name;  // as llama.cpp prints it: "q4_K"
  int64_t block_elements, block_bytes;
};

// nullptr for a number that no type has or that ggml has taken back. Types that are known by size alone are here too,
// so that a file which has them can be read up to the tensor that asks for one.
const GgmlTypeInfo* find_ggml_type(uint32_t number);
const GgmlTypeInfo& info(GgmlType type);
inline std::string_view name(GgmlType type) { return info(type).name; }

// Bytes of a row of `n` elements, which must be whole blocks.
int64_t row_bytes(GgmlType type, int64_t n);

}  // namespace trimeter
