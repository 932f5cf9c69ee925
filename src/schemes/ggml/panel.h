// ggml's blocks as kernels read them: panels of 16 rows (schemes/tile.h), of the same bytes as the rows' blocks. The
// blocks of a panel lie in order; one block of 16 rows is
//   d          f16[16 rows], types with minimums: then m f16[16 rows], as it is taken off
//   scales     of sub-blocks, K types, in lines
//     kBytes     q6_K: [sub-blocks][16 rows] bytes
//     kNibbles   q2_K: four lines, scale | minimum << 4 of sub-block 4 l + j in byte j of line l
//     kSixBits   16 values a row (q3_K: scales; q4_K, q5_K: 8 scales, 8 minimums) in three lines. Byte j of
//                  the first   value j, and in its upper two bits those of value 4 + j
//                  the second  likewise values 8 + j and 12 + j
//                  the third   the lower four bits of value 4 + j, and above them those of value 12 + j
//   codes      for each 32 k's a plane of the codes' upper bits, if any, and one of their lower bits
// A line is u32[16 rows]. A plane of b bits is b lines: code k = 4 v + j lies in byte j of line v b / 8, from bit
// v b % 8 on. So a shift and a mask give four k's of 16 rows, in the inputs' own order, as vpdpbusd multiplies them.
//
// Prepared inputs of a chunk of tokens: int8 [in / 32][tokens of the chunk][32], scales f32 [blocks][tokens], and sums
// [blocks][their number][tokens], int32 unless said otherwise:
//   K types with minimums   two sub-blocks' sums in halves of 16 bits, 4 l + j and 4 l + j + 2 (j = 0, 1 for each l):
//                           the minimums of those two are what a mask takes from a line of bytes
//   others with minimums    a block's sum in f32
//   others                  of each sub-block: what its sum of products begins with, as its codes have an offset
#pragma once
#include "schemes/ggml/blocks.h"

namespace trimeter::ggml {

inline constexpr int kRows = 16, kLine = 64;
inline constexpr int kUnit = 32;      // k's of a plane
inline constexpr int kUnitFours = 8;  // of four k's each
inline constexpr int kSixBitLines = 3;

template <class B>
struct PanelBlock {
  static constexpr int kMinimums = 2 * kRows;  // offset of m
  static constexpr int kScales = B::kHasMinimum ? 4 * kRows : 2 * kRows;
  static constexpr int kScaleBytes = B::kSubScales == SubScales::kNone      ? 0
                                     : B::kSubScales == SubScales::kSixBits ? kSixBitLines * kLine
                                                                            : B::kSubBlocks * kRows;
  static constexpr int kCodes = kScales + kScaleBytes;
  static constexpr int kUnitBytes = (B::kHighBits + B::kLowBits) * kLine;
  static constexpr int kBytes = kCodes + B::kValues / kUnit * kUnitBytes;
  static_assert(kBytes == kRows * B::kBytes);
  static constexpr int kInputSums = B::kHasMinimum && B::kSubBlocks > 1 ? B::kSubBlocks / 2 : B::kSubBlocks;
};

static inline uint32_t load_word(const uint8_t* p) {
  uint32_t word;
  memcpy(&word, p, 4);
  return word;
}
static inline void store_word(uint8_t* p, uint32_t word) { memcpy(p, &word, 4); }

// One row of a plane, at its first line: the lowest kBits of codes[32] >> shift.
template <int kBits>
static inline void put_plane(const uint8_t* codes, int shift, uint8_t* row) {
  for (int line = 0; line < kBits; ++line) {
    uint32_t word = 0;
    for (int i = 0; i < kUnit / kBits; ++i) {
      const uint32_t code = codes[line * (kUnit / kBits) + i] >> shift & ((1 << kBits) - 1);
      word |= code << (i % 4 * 8 + i / 4 * kBits);
    }
    store_word(row + line * kLine, word);
  }
}
template <int kBits>
static inline void add_plane(const uint8_t* row, int shift, uint8_t* codes) {
  for (int line = 0; line < kBits; ++line) {
    const uint32_t word = load_word(row + line * kLine);
    for (int i = 0; i < kUnit / kBits; ++i) {
      const uint32_t code = word >> (i % 4 * 8 + i / 4 * kBits) & ((1 << kBits) - 1);
      uint8_t& out = codes[line * (kUnit / kBits) + i];
      out = static_cast<uint8_t>(out | code << shift);
    }
  }
}

// What is added to a sub-block's scale so that its bits are not negative.
template <class B>
constexpr int scale_offset() {
  return B::kSubScales == SubScales::kSixBits && !B::kHasMinimum ? 32 : 0;
}
// Six-bit value i of a row: a sub-block's scale, or its minimum.
template <class B>
static inline int32_t& six_bits(typename B::Decoded& block, int i) {
  return i < B::kSubBlocks ? block.scales[i] : block.mins[i % B::kSubBlocks];
}

template <class B>
static inline void put_scales(typename B::Decoded& block, int row, uint8_t* scales) {
  if constexpr (B::kSubScales == SubScales::kBytes) {
    for (int s = 0; s < B::kSubBlocks; ++s) scales[s * kRows + row] = static_cast<uint8_t>(block.scales[s]);
  } else if constexpr (B::kSubScales == SubScales::kNibbles) {
    for (int s = 0; s < B::kSubBlocks; ++s)
      scales[s / 4 * kLine + 4 * row + s % 4] = static_cast<uint8_t>(block.scales[s] | block.mins[s] << 4);
  } else if constexpr (B::kSubScales == SubScales::kSixBits) {
    uint8_t* lines = scales + 4 * row;
    for (int j = 0; j < 4; ++j) {
      int value[4];
      for (int i = 0; i < 4; ++i) value[i] = six_bits<B>(block, 4 * i + j) + scale_offset<B>();
      lines[j] = static_cast<uint8_t>(value[0] | value[1] >> 4 << 6);
      lines[kLine + j] = static_cast<uint8_t>(value[2] | value[3] >> 4 << 6);
      lines[2 * kLine + j] = static_cast<uint8_t>((value[1] & 15) | (value[3] & 15) << 4);
    }
  }
}

template <class B>
static inline void get_scales(const uint8_t* scales, int row, typename B::Decoded& block) {
  for (int s = 0; s < B::kSubBlocks; ++s) block.scales[s] = block.mins[s] = 1;
  if constexpr (B::kSubScales == SubScales::kBytes) {
    for (int s = 0; s < B::kSubBlocks; ++s) block.scales[s] = static_cast<int8_t>(scales[s * kRows + row]);
  } else if constexpr (B::kSubScales == SubScales::kNibbles) {
    for (int s = 0; s < B::kSubBlocks; ++s) {
      const uint8_t byte = scales[s / 4 * kLine + 4 * row + s % 4];
      block.scales[s] = byte & 15;
      block.mins[s] = byte >> 4;
    }
  } else if constexpr (B::kSubScales == SubScales::kSixBits) {
    const uint8_t* lines = scales + 4 * row;
    for (int j = 0; j < 4; ++j) {
      const int first = lines[j], second = lines[kLine + j], low = lines[2 * kLine + j];
      const int value[4] = {first & 63, (low & 15) | first >> 6 << 4, second & 63, low >> 4 | second >> 6 << 4};
      for (int i = 0; i < 4; ++i) six_bits<B>(block, 4 * i + j) = value[i] - scale_offset<B>();
    }
  }
}

// A row's block into and out of a block of its panel.
template <class B>
static inline void put_row(typename B::Decoded& block, int row, uint8_t* panel) {
  using Panel = PanelBlock<B>;
  const uint16_t d = f16_from_float(block.d), m = f16_from_float(block.m);
  memcpy(panel + 2 * row, &d, 2);
  if (B::kHasMinimum) memcpy(panel + Panel::kMinimums + 2 * row, &m, 2);
  put_scales<B>(block, row, panel + Panel::kScales);
  uint8_t* unit = panel + Panel::kCodes + 4 * row;
  for (int k = 0; k < B::kValues; k += kUnit, unit += Panel::kUnitBytes) {
    uint8_t codes[kUnit];
    for (int i = 0; i < kUnit; ++i) codes[i] = static_cast<uint8_t>(block.codes[k + i] + B::kOffset);
    if constexpr (B::kHighBits > 0) put_plane<B::kHighBits>(codes, B::kLowBits, unit);
    put_plane<B::kLowBits>(codes, 0, unit + B::kHighBits * kLine);
  }
}
template <class B>
static inline void get_row(const uint8_t* panel, int row, typename B::Decoded& block) {
  using Panel = PanelBlock<B>;
  block.d = read_f16(panel + 2 * row);
  block.m = B::kHasMinimum ? read_f16(panel + Panel::kMinimums + 2 * row) : 0;
  get_scales<B>(panel + Panel::kScales, row, block);
  const uint8_t* unit = panel + Panel::kCodes + 4 * row;
  for (int k = 0; k < B::kValues; k += kUnit, unit += Panel::kUnitBytes) {
    uint8_t codes[kUnit] = {};
    if constexpr (B::kHighBits > 0) add_plane<B::kHighBits>(unit, B::kLowBits, codes);
    add_plane<B::kLowBits>(unit + B::kHighBits * kLine, 0, codes);
    for (int i = 0; i < kUnit; ++i) block.codes[k + i] = static_cast<int8_t>(codes[i] - B::kOffset);
  }
}

}  // namespace trimeter::ggml
