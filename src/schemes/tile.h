// Where a weight and its inputs lie when they are multiplied.
//
// Weight: panels of 16 output rows, the last padded. A panel is one sequential stream along `in`:
//   values  [in_padded / step][16 rows][step codes]       (a scheme may interleave the codes of neighbouring rows)
//   scales  [groups][16 rows ...]                         (a scale per row is one group)
// A vector lane is an output row, so a dot product needs no horizontal sum and an output has one order of accumulation.
//
// Inputs: chunks of a decoder's kChunkTokens tokens, the last as narrow as it is. A chunk is one sequential stream:
//   [in_padded * element bytes / 64][tokens of the chunk][64 bytes]
// so that the tokens that are multiplied together lie at fixed distances, and each cache line is one token's.
// ggml's blocks have scales between the values and lines of 32 bytes: schemes/ggml/panel.h.
#pragma once
#include <stdint.h>

namespace trimeter {

inline constexpr int64_t kPanelRows = 16;
inline constexpr int64_t kMaxGroup = 256;  // a group's size divides it
inline constexpr int64_t kInputLine = 64;

static inline constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
static inline constexpr int64_t padded_rows(int64_t out) { return round_up(out, kPanelRows); }
// Of one token's prepared input.
static inline constexpr int64_t input_bytes(int64_t in, int64_t element_bytes) {
  return round_up(in * element_bytes, kInputLine);
}

}  // namespace trimeter
