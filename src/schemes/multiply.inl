// The loop nest that all schemes share, for *_isa.cc files. A decoder D says what is a scheme's own:
//   kStep         k's that lie together in the packed form
//   kParts        vectors a step is decoded into, one at a time
//   kLineBytes    bytes of 16 rows in one step
//   kGroup        k's per scale group; 0: none
//   X, kPartX     element of the prepared input, and how many of them a part multiplies
//   Raw load(p);  Part part<j>(raw);  F32x16 dot(sum, part, x)
//   void close_group(group scales, n rows of the tile, row, group sum of x, sum, total)         if kGroup
//   F32x16 finish(sum, args, token)                                                             scales of the output
// One order of accumulation: an output is one chain over k (per group, then over groups), whatever the batch, the
// range and the blocking.
#pragma once
#include "kernels/cpu/simd.h"
#include "schemes/kernel_table.h"
#include "schemes/tile.h"

namespace trimeter::TM_ISA {
namespace {

// Tokens multiplied together, and vectors of rows: as many independent chains as the registers hold.
#if defined(TM_ISA_scalar)
constexpr int kMaxTokens = 1;
constexpr int max_row_vectors(int) { return 1; }
#elif defined(TM_ISA_avx2)
constexpr int kMaxTokens = 4;
constexpr int max_row_vectors(int n_tokens) { return n_tokens == 1 ? 4 : n_tokens == 2 ? 2 : 1; }
#else
constexpr int kMaxTokens = 16;
constexpr int max_row_vectors(int n_tokens) { return n_tokens <= 4 ? 4 : n_tokens <= 8 ? 2 : 1; }
#endif

// One block of R vectors of rows and T tokens.
struct Block {
  const char* w;           // first line of the first row vector
  const char* scales;      // of the tile
  int64_t tile_rows, row;  // of the tile; first row of the block in the output
  int64_t row_in_tile;
  int64_t token;
};

template <class D, int J, int R, int T>
TM_FN void add_part(const typename D::Raw (&raw)[R], const char* const (&x)[T], int64_t x_offset,
                    F32x16 (&sums)[R][T]) {
  typename D::Part w[R];
  for (int r = 0; r < R; ++r) w[r] = D::template part<J>(raw[r]);
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < R; ++r)
      sums[r][t] = D::dot(sums[r][t], w[r], reinterpret_cast<const typename D::X*>(x[t] + x_offset) + J * D::kPartX);
  if constexpr (J + 1 < D::kParts) add_part<D, J + 1, R, T>(raw, x, x_offset, sums);
}

// sums += w x over n steps.
template <class D, int R, int T>
TM_FN void add_steps(const char*& w, int64_t line_bytes, int64_t n_steps, const char* const (&x)[T], int64_t& x_offset,
                     F32x16 (&sums)[R][T]) {
  for (int64_t i = 0; i < n_steps; ++i) {
    typename D::Raw raw[R];
    for (int r = 0; r < R; ++r) raw[r] = D::load(w + r * D::kLineBytes);
    add_part<D, 0, R, T>(raw, x, x_offset, sums);
    w += line_bytes;
    x_offset += D::kParts * D::kPartX * static_cast<int64_t>(sizeof(typename D::X));
  }
}

template <class D, int R, int T>
__attribute__((noinline)) void multiply_block(const MultiplyArgs& args, const Block& block) {
  const char* w = block.w;
  const int64_t line_bytes = block.tile_rows / kRowVector * D::kLineBytes;
  const int64_t n_steps = (args.in + D::kStep - 1) / D::kStep;
  const int64_t stride = input_stride_bytes(args.in, D::kXElementBytes);
  const char* x[T];
  for (int t = 0; t < T; ++t) x[t] = args.x + (block.token + t) * stride;
  int64_t x_offset = 0;

  F32x16 sums[R][T];
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) sums[r][t] = set1(0);
  if constexpr (D::kGroup == 0) {
    add_steps<D, R, T>(w, line_bytes, n_steps, x, x_offset, sums);
  } else {
    F32x16 totals[R][T];
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < T; ++t) totals[r][t] = set1(0);
    const int64_t n_groups = args.in / D::kGroup;
    for (int64_t g = 0; g < n_groups; ++g) {
      add_steps<D, R, T>(w, line_bytes, D::kGroup / D::kStep, x, x_offset, sums);
      for (int r = 0; r < R; ++r) {
        const typename D::Group group = D::load_group(block.scales, block.tile_rows, g, block.row_in_tile + 16 * r);
        for (int t = 0; t < T; ++t) {
          totals[r][t] =
              D::close_group(group, args.group_sums[(block.token + t) * n_groups + g], sums[r][t], totals[r][t]);
          sums[r][t] = set1(0);
        }
      }
    }
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < T; ++t) sums[r][t] = totals[r][t];
  }

  for (int r = 0; r < R; ++r) {
    const int64_t row = block.row + 16 * r, n = args.row_end - row;
    if (n <= 0) return;
    for (int t = 0; t < T; ++t) {
      F32x16 result = D::finish(sums[r][t], args, block.token + t);
      float* y = args.y + (block.token + t) * args.ldy + row;
      if (args.bias != nullptr) result = add(result, load_n(args.bias + row, n));
      if (args.accumulate) result = add(result, load_n(y, n));
      store_n(y, result, n);
    }
  }
}

template <class D, int R, int T>
void multiply_rows(const MultiplyArgs& args, Block block, int64_t n_vectors) {
  for (; n_vectors >= R; n_vectors -= R) {
    multiply_block<D, R, T>(args, block);
    block.w += R * D::kLineBytes;
    block.row += R * kRowVector;
    block.row_in_tile += R * kRowVector;
  }
  if constexpr (R > 1) multiply_rows<D, R / 2, T>(args, block, n_vectors);
}

template <class D, int T>
void multiply_tokens(const MultiplyArgs& args, const Block& block, int64_t n_vectors, int64_t n_tokens) {
  if constexpr (T > 1) {
    if (n_tokens < T) return multiply_tokens<D, T - 1>(args, block, n_vectors, n_tokens);
  }
  multiply_rows<D, max_row_vectors(T), T>(args, block, n_vectors);
}

template <class D>
void multiply(const MultiplyArgs& args) {
  const int64_t row_bytes = (args.in + D::kStep - 1) / D::kStep * (D::kLineBytes / kRowVector);
  const int64_t n_chunks = (args.n_tokens + kMaxTokens - 1) / kMaxTokens;
  for (int64_t row = args.row_begin; row < args.row_end; row += kTileRows) {
    Block block{};
    block.w = args.values + row * row_bytes;
    block.tile_rows = tile_rows(args.out, row);
    block.row = row;
    if constexpr (D::kGroup > 0) block.scales = args.scales + row / kRowVector * (args.in / D::kGroup) * D::kGroupBytes;
    const int64_t rows = args.row_end - row < block.tile_rows ? args.row_end - row : block.tile_rows;
    for (int64_t c = 0; c < n_chunks; ++c) {
      block.token = args.n_tokens * c / n_chunks;
      const int64_t n_tokens = args.n_tokens * (c + 1) / n_chunks - block.token;
      multiply_tokens<D, kMaxTokens>(args, block, (rows + kRowVector - 1) / kRowVector, n_tokens);
    }
  }
}

// Input rounded to what the scheme multiplies, held as f32: Round is a function of F32x16.
template <class Round>
TM_FN void prepare_f32(const PrepareArgs& args, Round round_lanes) {
  const int64_t stride = input_stride_bytes(args.in, 4);
  for (int64_t t = args.token_begin; t < args.token_end; ++t) {
    const float* x = args.x + t * args.in;
    auto* out = reinterpret_cast<float*>(args.values + t * stride);
    for (int64_t k = 0; k < args.in; k += 16) store(out + k, round_lanes(load_n(x + k, args.in - k)));
  }
}

}  // namespace
}  // namespace trimeter::TM_ISA
