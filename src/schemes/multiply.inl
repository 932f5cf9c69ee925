// The loop nest that all schemes share, for *_isa.cc files. A decoder D says what is a scheme's own:
//   kStep         k's that lie together in the packed form
//   kParts        vectors a step is decoded into, one at a time
//   kLineBytes    bytes of 16 rows in one step
//   X, kPartX     element of the prepared input, and how many of them a part multiplies
//   Sum, zero()   what a chain adds up in
//   Raw load(p);  Part part<j>(raw);  Sum dot(sum, part, x)
//   kGrouped      scales per group: each group's chain is closed into the total
//     Group load_group(args, row, group);  F32x16 close_group(group, of_x, sum, total)
//     kGroupInput   which of MultiplyArgs' [n_tokens, n_groups] is of_x; nullptr: none
//   kBlocks       instead of all of these: multiply_blocks<R, T>(args, token, cursor, totals) walks the panels itself
//   kChunkTokens, max_panels(n_tokens)                          multiplied together, at most
//   F32x16 finish(total, args, row, token)                      scales of the output
// One order of accumulation: an output is one chain over k (per group, then over groups), whatever the batch, the
// range.
#pragma once
#include "kernels/cpu/simd.h"
#include "schemes/kernel_table.h"
#include "schemes/tile.h"

namespace trimeter::TM_ISA {
namespace {

// Tokens multiplied together, and panels: as many independent chains as the registers hold.
#if defined(TM_ISA_scalar)
constexpr int kChunkTokens = 4;
constexpr int max_panels(int) { return 1; }
#elif defined(TM_ISA_avx2)
constexpr int kChunkTokens = 4;
constexpr int max_panels(int n_tokens) { return n_tokens == 1 ? 4 : n_tokens == 2 ? 2 : 1; }
#else
constexpr int kChunkTokens = 12;
constexpr int max_panels(int n_tokens) { return n_tokens <= 4 ? 4 : 2; }
#endif

// Panels that a chunk of tokens is multiplied with before the next chunk's turn: its inputs and they stay in L2.
constexpr int kGroupPanels = 4;
// The hardware's prefetch stops at the end of a page of 4 KB, and does not know which panels come next.
// Measured on an Emerald Rapids, two threads over the weights of 24 layers: gguf-q4_0 at 4 tokens 14.1 -> 22 GB/s,
// int8 at 4 tokens 25.6 -> 30, int4 at 1 token 20.2 -> 23 (19.2 where panels beyond this one's end are not known).
constexpr int64_t kPrefetchBytes = 4096;

struct Panels {
  const char* w;
  int64_t bytes;        // of each one's values
  int64_t row;          // the first one's first, in the output
  int64_t n_steps;      // of a panel
  int64_t group_steps;  // of one group
  int64_t n_panels;
  int64_t token;  // first of the chunk
};

// What most decoders have in common.
struct PlainDecoder {
  static constexpr bool kGrouped = false, kBlocks = false;
  static constexpr const float* MultiplyArgs::*kGroupInput = nullptr;
  static constexpr int kChunkTokens = TM_ISA::kChunkTokens;
  static constexpr int max_panels(int n_tokens) { return TM_ISA::max_panels(n_tokens); }
  using Sum = F32x16;
  TM_FN Sum zero() { return set1(0); }
  TM_FN F32x16 finish(F32x16 total, const MultiplyArgs&, int64_t, int64_t) { return total; }
};

// Decoders that take registers for tables and parts leave them to the sums of fewer tokens.
struct LookUpDecoder : PlainDecoder {
  static constexpr int kChunkTokens = TM_ISA::kChunkTokens < 8 ? TM_ISA::kChunkTokens : 8;
};

// A group's scales of the panel that begins at `row`.
TM_FN const char* group_scales(const MultiplyArgs& args, int64_t row, int64_t group) {
  return args.scales + (row / args.scale_rows * args.n_groups + group) * args.group_bytes;
}
// 16-bit scales of 16 rows.
TM_FN F32x16 load_scales(const MultiplyArgs& args, const char* scales) {
  const auto* p = reinterpret_cast<const uint16_t*>(scales);
  return args.bf16_scales ? load_bf16(p) : load_f16(p);
}

// Decoders of codes around a fixed middle, with 16-bit scales per group or per row.
template <class D>
struct ScaledGroups : D {
  static constexpr bool kGrouped = true;
  using Group = F32x16;
  TM_FN Group load_group(const MultiplyArgs& args, int64_t row, int64_t group) {
    return load_scales(args, group_scales(args, row, group));
  }
  TM_FN F32x16 close_group(Group scale, float, F32x16 sum, F32x16 total) { return fma(scale, sum, total); }
};
template <class D>
struct ScaledRows : D {
  TM_FN F32x16 finish(F32x16 total, const MultiplyArgs& args, int64_t row, int64_t) {
    return mul(load_scales(args, group_scales(args, row, 0)), total);
  }
};

// Where multiply_steps is in the panels and in the chunk.
template <int R>
struct Cursor {
  const char* w[R];
  const char* x;
  const char* end;  // of the first panel
  // What is multiplied kPrefetchBytes later: beyond a panel's end, the panel R on.
  __attribute__((always_inline)) int64_t ahead(int64_t panel_bytes) const {
    return end - w[0] > kPrefetchBytes ? kPrefetchBytes : kPrefetchBytes + (R - 1) * panel_bytes;
  }
};

template <class D, int J, int R, int T>
TM_FN void multiply_part(const typename D::Raw (&raw)[R], const char* line, typename D::Sum (&sums)[R][T]) {
  typename D::Part w[R];
  for (int r = 0; r < R; ++r) w[r] = D::template part<J>(raw[r]);
  for (int t = 0; t < T; ++t) {
    const auto* x = reinterpret_cast<const typename D::X*>(line + kInputLine * t) + J * D::kPartX;
    for (int r = 0; r < R; ++r) sums[r][t] = D::dot(sums[r][t], w[r], x);
  }
  if constexpr (J + 1 < D::kParts) multiply_part<D, J + 1, R, T>(raw, line, sums);
}

template <class D, int R, int T>
TM_FN void multiply_line(Cursor<R>& at, int64_t n_steps, int64_t panel_bytes, typename D::Sum (&sums)[R][T]) {
  const int64_t ahead = at.ahead(panel_bytes);
  for (int64_t i = 0; i < n_steps; ++i) {
    typename D::Raw raw[R];
    for (int r = 0; r < R; ++r) {
      raw[r] = D::load(at.w[r]);
      __builtin_prefetch(at.w[r] + ahead);
      at.w[r] += D::kLineBytes;
    }
    multiply_part<D, 0, R, T>(raw, at.x + i * (D::kStep * D::kXElementBytes), sums);
  }
  at.x += kInputLine * T;
}

// sums += w x over n steps, from the begin of a line of inputs.
template <class D, int R, int T>
TM_FN void multiply_steps(Cursor<R>& at, int64_t n_steps, int64_t panel_bytes, typename D::Sum (&sums)[R][T]) {
  constexpr int64_t kLineSteps = kInputLine / (D::kStep * D::kXElementBytes);
  for (; n_steps >= kLineSteps; n_steps -= kLineSteps) multiply_line<D, R, T>(at, kLineSteps, panel_bytes, sums);
  if (n_steps > 0) multiply_line<D, R, T>(at, n_steps, panel_bytes, sums);
}

// results[r][t] = w x of panels [panel, panel + R).
template <class D, int R, int T>
__attribute__((noinline)) void multiply_panels(const MultiplyArgs& args, const Panels& panels, int64_t panel) {
  Cursor<R> at;
  at.x = args.x + panels.token * input_bytes(args.in, D::kXElementBytes);
  for (int r = 0; r < R; ++r) at.w[r] = panels.w + (panel + r) * panels.bytes;
  at.end = at.w[0] + panels.bytes;
  const int64_t first_row = panels.row + panel * kPanelRows;

  typename D::Sum sums[R][T];
  for (int r = 0; r < R; ++r)
    for (int t = 0; t < T; ++t) sums[r][t] = D::zero();
  F32x16 totals[R][T];
  if constexpr (D::kBlocks) {
    D::template multiply_blocks<R, T>(args, panels.token, at, sums);
  } else if constexpr (!D::kGrouped) {
    multiply_steps<D, R, T>(at, panels.n_steps, panels.bytes, sums);
  } else {
    for (int r = 0; r < R; ++r)
      for (int t = 0; t < T; ++t) totals[r][t] = set1(0);
    for (int64_t g = 0; g < args.n_groups; ++g) {
      multiply_steps<D, R, T>(at, panels.group_steps, panels.bytes, sums);
      for (int r = 0; r < R; ++r) {
        const auto group = D::load_group(args, first_row + r * kPanelRows, g);
        for (int t = 0; t < T; ++t) {
          float of_x = 0;
          if constexpr (D::kGroupInput != nullptr)
            of_x = (args.*D::kGroupInput)[(panels.token + t) * args.n_groups + g];
          totals[r][t] = D::close_group(group, of_x, sums[r][t], totals[r][t]);
          sums[r][t] = D::zero();
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    const int64_t row = first_row + r * kPanelRows, n = args.row_end - row;
    for (int t = 0; t < T; ++t) {
      F32x16 result;
      if constexpr (D::kGrouped)
        result = D::finish(totals[r][t], args, row, panels.token + t);
      else
        result = D::finish(sums[r][t], args, row, panels.token + t);
      float* y = args.y + (panels.token + t) * args.ldy + row;
      if (args.bias != nullptr) result = add(result, load_n(args.bias + row, n));
      if (args.accumulate) result = add(result, load_n(y, n));
      store_n(y, result, n);
    }
  }
}

template <class D, int R, int T>
void multiply_group(const MultiplyArgs& args, const Panels& panels, int64_t panel) {
  for (; panel + R <= panels.n_panels; panel += R) multiply_panels<D, R, T>(args, panels, panel);
  if constexpr (R > 1) multiply_group<D, R / 2, T>(args, panels, panel);
}

template <class D, int T>
void multiply_chunk(const MultiplyArgs& args, const Panels& panels, int64_t n_tokens) {
  if constexpr (T > 1) {
    if (n_tokens < T) return multiply_chunk<D, T - 1>(args, panels, n_tokens);
  }
  multiply_group<D, D::max_panels(T), T>(args, panels, 0);
}

template <class D>
void multiply(const MultiplyArgs& args) {
  Panels panels{};
  panels.n_steps = (args.in + D::kStep - 1) / D::kStep;
  panels.group_steps = args.in / args.n_groups / D::kStep;
  panels.bytes = panels.n_steps * D::kLineBytes;
  for (int64_t row = args.row_begin; row < args.row_end; row += kGroupPanels * kPanelRows) {
    panels.row = row;
    panels.w = args.values + row / kPanelRows * panels.bytes;
    const int64_t n_panels = (args.row_end - row + kPanelRows - 1) / kPanelRows;
    panels.n_panels = n_panels < kGroupPanels ? n_panels : kGroupPanels;
    for (panels.token = 0; panels.token < args.n_tokens; panels.token += D::kChunkTokens) {
      const int64_t left = args.n_tokens - panels.token;
      multiply_chunk<D, D::kChunkTokens>(args, panels, left < D::kChunkTokens ? left : D::kChunkTokens);
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

// A token's place in its chunk.
struct TokenPlace {
  char* first_line;
  int64_t line_stride;
  __attribute__((always_inline)) char* byte(int64_t i) const {
    return first_line + i / kInputLine * line_stride + i % kInputLine;
  }
};
template <class D>
TM_FN TokenPlace place_token(const PrepareArgs& args, int64_t token) {
  const int64_t chunk = token / D::kChunkTokens * D::kChunkTokens, left = args.n_tokens - chunk;
  return {args.values + chunk * input_bytes(args.in, D::kXElementBytes) + (token - chunk) * kInputLine,
          (left < D::kChunkTokens ? left : D::kChunkTokens) * kInputLine};
}

// Input rounded to what the scheme multiplies, held as f32: Round is a function of F32x16.
template <class D, class Round>
TM_FN void prepare_f32(const PrepareArgs& args, Round round_lanes) {
  for (int64_t t = args.token_begin; t < args.token_end; ++t) {
    const TokenPlace place = place_token<D>(args, t);
    for (int64_t k = 0; k < args.in; k += 16)
      store(reinterpret_cast<float*>(place.byte(4 * k)), round_lanes(load_input(args, t, k)));
  }
}

}  // namespace
}  // namespace trimeter::TM_ISA
