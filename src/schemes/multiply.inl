// The loop nest that all schemes share, for *_isa.cc files. A decoder D says what is a scheme's own:
//   kStep         k's that lie together in the packed form
//   kParts        vectors a step is decoded into, one at a time
//   kLineBytes    bytes of 16 rows in one step
//   X, kPartX     element of the prepared input, and how many of them a part multiplies
//   Sum, zero()   what a chain adds up in
//   Raw load(p);  Part part<j>(raw);  Sum dot(sum, part, x)
//   kGrouped      scales per group: each group's chain is closed into the total
//     Group load_group(args, tile, group, row of the tile);  F32x16 close_group(group, of_x, sum, total)
//     kGroupInput   which of MultiplyArgs' [n_tokens, n_groups] is of_x; nullptr: none
//   F32x16 finish(total, args, tile, row of the tile, token)                                    scales of the output
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
constexpr int kMaxTokens = 4;
constexpr int max_row_vectors(int) { return 1; }
#elif defined(TM_ISA_avx2)
constexpr int kMaxTokens = 4;
constexpr int max_row_vectors(int n_tokens) { return n_tokens == 1 ? 4 : n_tokens == 2 ? 2 : 1; }
#else
constexpr int kMaxTokens = 16;
constexpr int max_row_vectors(int n_tokens) { return n_tokens <= 4 ? 4 : n_tokens <= 8 ? 2 : 1; }
#endif

constexpr int kTileVectors = kTileRows / kRowVector;
// A tile that takes several passes is multiplied in pieces of this size, which stay in the L1 cache from pass to pass.
// Its passes skip lines, which hardware prefetch doesn't follow: each fetches its share of the next piece, line by
// line. One pass over the whole tile is read in order (tried: fetching 1 or 4 KiB ahead; up to 25% slower).
constexpr int64_t kPieceBytes = 16384;

struct Tile {
  const char* w;
  const char* scales;
  int64_t n_rows, row;  // rows it holds, padding included; its first row in the output
  int64_t group_steps;  // steps of one group
  int64_t n_vectors;    // of rows wanted
  int64_t token;        // first of the tokens multiplied
};

// What most decoders have in common.
struct PlainDecoder {
  static constexpr bool kGrouped = false;
  static constexpr const float* MultiplyArgs::*kGroupInput = nullptr;
  using Sum = F32x16;
  TM_FN Sum zero() { return set1(0); }
  TM_FN F32x16 finish(F32x16 total, const MultiplyArgs&, const Tile&, int64_t, int64_t) { return total; }
};

// A group's scales of the tile, where the scheme has them tile by tile.
TM_FN const char* group_scales(const MultiplyArgs& args, const Tile& tile, int64_t group) {
  return tile.scales + group * (tile.n_rows / kRowVector) * args.group_bytes;
}
// 16-bit scales of 16 rows.
TM_FN F32x16 load_scales(const MultiplyArgs& args, const char* scales, int64_t row) {
  const auto* p = reinterpret_cast<const uint16_t*>(scales) + row;
  return args.bf16_scales ? load_bf16(p) : load_f16(p);
}

// Decoders of codes around a fixed middle, with 16-bit scales per group or per row.
template <class D>
struct ScaledGroups : D {
  static constexpr bool kGrouped = true;
  using Group = F32x16;
  TM_FN Group load_group(const MultiplyArgs& args, const Tile& tile, int64_t group, int64_t row) {
    return load_scales(args, group_scales(args, tile, group), row);
  }
  TM_FN F32x16 close_group(Group scale, float, F32x16 sum, F32x16 total) { return fma(scale, sum, total); }
};
template <class D>
struct ScaledRows : D {
  TM_FN F32x16 finish(F32x16 total, const MultiplyArgs& args, const Tile& tile, int64_t row, int64_t) {
    return mul(load_scales(args, tile.scales, row), total);
  }
};

// Where multiply_steps is: the line of the first of its row vectors, the line to fetch, and the inputs of every fourth
// token. The other tokens are addressed as base + {1, 2, 3} * stride, so that sixteen need six registers.
template <int T>
struct Cursor {
  const char* w;
  const char* ahead;
  const char* x[(T + 3) / 4];
  int64_t stride, stride3;

  __attribute__((always_inline)) const char* token(int t) const {
    return x[t / 4] + (t % 4 == 3 ? stride3 : t % 4 * stride);
  }
};

template <class D, int J, int R, int T>
TM_FN void multiply_part(const typename D::Raw (&raw)[R], const Cursor<T>& at, typename D::Sum (&sums)[R][T]) {
  typename D::Part w[R];
  for (int r = 0; r < R; ++r) w[r] = D::template part<J>(raw[r]);
  for (int t = 0; t < T; ++t) {
    const auto* x = reinterpret_cast<const typename D::X*>(at.token(t)) + J * D::kPartX;
    for (int r = 0; r < R; ++r) sums[r][t] = D::dot(sums[r][t], w[r], x);
  }
  if constexpr (J + 1 < D::kParts) multiply_part<D, J + 1, R, T>(raw, at, sums);
}

// sums += w x over n steps.
template <class D, int R, int T>
TM_FN void multiply_steps(Cursor<T>& at, int64_t step_bytes, int64_t n_steps, typename D::Sum (&sums)[R][T]) {
  for (int64_t i = 0; i < n_steps; ++i) {
    if constexpr (R < kTileVectors)
      for (int b = 0; b < R * D::kLineBytes; b += 64) __builtin_prefetch(at.ahead + b);
    typename D::Raw raw[R];
    for (int r = 0; r < R; ++r) raw[r] = D::load(at.w + r * D::kLineBytes);
    multiply_part<D, 0, R, T>(raw, at, sums);
    at.w += step_bytes;
    at.ahead += R * D::kLineBytes;
    for (const char*& x : at.x) {
      x += D::kStep * D::kXElementBytes;
      asm("" : "+r"(x));  // keeps GCC from making sixteen pointers of these, and spilling them
    }
  }
}

// results[r][t] += w x over steps [begin, end) of row vectors [vector, vector + R).
template <class D, int R, int T>
__attribute__((noinline)) void multiply_vectors(const MultiplyArgs& args, const Tile& tile, int64_t vector,
                                                int64_t begin, int64_t end, typename D::Sum (*results)[T]) {
  const int64_t step_bytes = tile.n_rows / kRowVector * D::kLineBytes;
  Cursor<T> at;
  at.stride = input_stride_bytes(args.in, D::kXElementBytes);
  at.stride3 = 3 * at.stride;
  for (int q = 0; q < (T + 3) / 4; ++q)
    at.x[q] = args.x + (tile.token + 4 * q) * at.stride + begin * D::kStep * D::kXElementBytes;
  at.w = tile.w + begin * step_bytes + vector * D::kLineBytes;
  at.ahead = tile.w + end * step_bytes + vector * (end - begin) * D::kLineBytes;

  typename D::Sum sums[R][T];
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) sums[r][t] = D::kGrouped ? D::zero() : results[r][t];
  if constexpr (!D::kGrouped) {
    multiply_steps<D, R, T>(at, step_bytes, end - begin, sums);
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < T; ++t) results[r][t] = sums[r][t];
  } else {
    int64_t g = begin / tile.group_steps;
    for (int64_t step = begin; step < end; step += tile.group_steps, ++g) {
      multiply_steps<D, R, T>(at, step_bytes, tile.group_steps, sums);
      for (int r = 0; r < R; ++r) {
        const auto group = D::load_group(args, tile, g, (vector + r) * kRowVector);
        for (int t = 0; t < T; ++t) {
          float of_x = 0;
          if constexpr (D::kGroupInput != nullptr) of_x = (args.*D::kGroupInput)[(tile.token + t) * args.n_groups + g];
          results[r][t] = D::close_group(group, of_x, sums[r][t], results[r][t]);
          sums[r][t] = D::zero();
        }
      }
    }
  }
}

template <class D, int R, int T>
void multiply_passes(const MultiplyArgs& args, const Tile& tile, int64_t vector, int64_t begin, int64_t end,
                     typename D::Sum (*results)[T]) {
  for (; vector + R <= tile.n_vectors; vector += R)
    multiply_vectors<D, R, T>(args, tile, vector, begin, end, results + vector);
  if constexpr (R > 1) multiply_passes<D, R / 2, T>(args, tile, vector, begin, end, results);
}

template <class D, int T>
void multiply_tile(const MultiplyArgs& args, const Tile& tile) {
  constexpr int R = max_row_vectors(T);
  const int64_t n_steps = (args.in + D::kStep - 1) / D::kStep;
  constexpr int64_t kPieceSteps = kPieceBytes / (kTileVectors * D::kLineBytes);
  static_assert(!D::kGrouped || kPieceSteps * D::kStep % kMaxGroup == 0, "a piece is whole groups");
  const int64_t piece = tile.n_vectors <= R ? n_steps : kPieceSteps;

  typename D::Sum results[kTileVectors][T];
  for (int r = 0; r < kTileVectors; ++r)
    for (int t = 0; t < T; ++t) results[r][t] = D::zero();
  for (int64_t begin = 0; begin < n_steps; begin += piece)
    multiply_passes<D, R, T>(args, tile, 0, begin, begin + piece < n_steps ? begin + piece : n_steps, results);

  for (int64_t r = 0; r < tile.n_vectors; ++r) {
    const int64_t row = tile.row + kRowVector * r, n = args.row_end - row;
    for (int t = 0; t < T; ++t) {
      F32x16 result = D::finish(results[r][t], args, tile, kRowVector * r, tile.token + t);
      float* y = args.y + (tile.token + t) * args.ldy + row;
      if (args.bias != nullptr) result = add(result, load_n(args.bias + row, n));
      if (args.accumulate) result = add(result, load_n(y, n));
      store_n(y, result, n);
    }
  }
}

template <class D, int T>
void multiply_tokens(const MultiplyArgs& args, const Tile& tile, int64_t n_tokens) {
  if constexpr (T > 1) {
    if (n_tokens < T) return multiply_tokens<D, T - 1>(args, tile, n_tokens);
  }
  multiply_tile<D, T>(args, tile);
}

template <class D>
void multiply(const MultiplyArgs& args) {
  const int64_t row_bytes = (args.in + D::kStep - 1) / D::kStep * (D::kLineBytes / kRowVector);
  const int64_t n_chunks = (args.n_tokens + kMaxTokens - 1) / kMaxTokens;
  for (int64_t row = args.row_begin; row < args.row_end; row += kTileRows) {
    Tile tile{.w = args.values + row * row_bytes,
              .scales = args.scales + row / args.scale_rows * args.n_groups * args.group_bytes,
              .n_rows = tile_rows(args.out, row),
              .row = row,
              .group_steps = args.in / args.n_groups / D::kStep,
              .n_vectors = 0,
              .token = 0};
    const int64_t rows = args.row_end - row < tile.n_rows ? args.row_end - row : tile.n_rows;
    tile.n_vectors = (rows + kRowVector - 1) / kRowVector;
    for (int64_t c = 0; c < n_chunks; ++c) {
      tile.token = args.n_tokens * c / n_chunks;
      multiply_tokens<D, kMaxTokens>(args, tile, args.n_tokens * (c + 1) / n_chunks - tile.token);
    }
  }
}

// Inputs k to k + 15 of a token, in the order of the packed columns; zeros beyond the last.
TM_FN F32x16 load_input(const PrepareArgs& args, int64_t token, int64_t k) {
  const float* x = args.x + token * args.in;
  if (args.input_order == nullptr) return load_n(x + k, args.in - k);
  float lanes[16] = {};
  for (int64_t i = 0; i < 16 && k + i < args.in; ++i) lanes[i] = x[args.input_order[k + i]];
  return load(lanes);
}

// Input rounded to what the scheme multiplies, held as f32: Round is a function of F32x16.
template <class Round>
TM_FN void prepare_f32(const PrepareArgs& args, Round round_lanes) {
  const int64_t stride = input_stride_bytes(args.in, 4);
  for (int64_t t = args.token_begin; t < args.token_end; ++t) {
    auto* out = reinterpret_cast<float*>(args.values + t * stride);
    for (int64_t k = 0; k < args.in; k += 16) store(out + k, round_lanes(load_input(args, t, k)));
  }
}

}  // namespace
}  // namespace trimeter::TM_ISA
