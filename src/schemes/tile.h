// Where a weight lies in its packed form. Output rows come in tiles of 64; rows are padded to a multiple of 16, so the
// last tile has 16, 32, 48 or 64 of them. A tile is one sequential stream along `in`:
//   values  [in_padded / step][tile_rows][step codes]     (a scheme may interleave the codes of neighbouring rows)
//   scales  [groups][tile_rows ...]                       (a scale per row is one group)
// A vector lane is an output row, so a dot product needs no horizontal sum and an output has one order of accumulation.
#pragma once
#include <stdint.h>

namespace trimeter {

inline constexpr int64_t kTileRows = 64;
inline constexpr int64_t kRowVector = 16;  // rows of one vector
inline constexpr int64_t kMaxGroup = 128;  // a group's size divides it

static inline constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
static inline constexpr int64_t padded_rows(int64_t out) { return round_up(out, kRowVector); }
// Rows, padding included, of the tile that begins at row `begin`.
static inline constexpr int64_t tile_rows(int64_t out, int64_t begin) {
  return padded_rows(out) - begin < kTileRows ? padded_rows(out) - begin : kTileRows;
}
// From one token's prepared input to the next: whole cache lines, an odd number of them, so that the tokens of a batch
// don't fall into one set of the cache.
static inline constexpr int64_t input_stride_bytes(int64_t in, int64_t element_bytes) {
  return (round_up(in * element_bytes, 64) / 64 | 1) * 64;
}

}  // namespace trimeter
