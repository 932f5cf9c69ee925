#include "kernels/cpu/ops_table.h"
#include "kernels/cpu/simd.h"

namespace trimeter::TM_ISA {
namespace {

// Four accumulators, so that the sum is not one chain: 64 lanes in all, folded in a fixed order.
void rms_norm(const float* x, const float* g, double eps, int64_t n, float* y) {
  F32x16 sums[4] = {set1(0), set1(0), set1(0), set1(0)};
  int64_t i = 0;
  for (; i + 64 <= n; i += 64)
    for (int j = 0; j < 4; ++j) {
      const F32x16 v = load(x + i + 16 * j);
      sums[j] = fma(v, v, sums[j]);
    }
  for (; i < n; i += 16) {
    const F32x16 v = load_n(x + i, n - i);
    sums[0] = fma(v, v, sums[0]);
  }
  const double sum = reduce_add(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
  const F32x16 scale = set1(static_cast<float>(1.0 / __builtin_sqrt(sum / static_cast<double>(n) + eps)));
  for (i = 0; i < n; i += 16) store_n(y + i, mul(mul(load_n(x + i, n - i), scale), load_n(g + i, n - i)), n - i);
}

void rope(float* x, int64_t n_heads, int64_t head_dim, const float* cos, const float* sin) {
  const int64_t half = head_dim / 2;
  for (int64_t h = 0; h < n_heads; ++h) {
    float* first = x + h * head_dim;
    float* second = first + half;
    for (int64_t i = 0; i < half; i += 16) {
      const int64_t n = half - i;
      const F32x16 c = load_n(cos + i, n), s = load_n(sin + i, n);
      const F32x16 a = load_n(first + i, n), b = load_n(second + i, n);
      store_n(first + i, sub(mul(a, c), mul(b, s)), n);
      store_n(second + i, add(mul(b, c), mul(a, s)), n);
    }
  }
}

void silu_mul(const float* gate, const float* up, int64_t n, float* y) {
  const F32x16 one = set1(1.0f), zero = set1(0.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const F32x16 x = load_n(gate + i, n - i);
    const F32x16 silu = div(x, add(one, exp(sub(zero, x))));
    store_n(y + i, mul(silu, load_n(up + i, n - i)), n - i);
  }
}

// The dtypes of the cache. kTokenScales: a scale for each token; otherwise KvScale's.
struct Bf16 {
  using Element = uint16_t;
  static constexpr bool kTokenScales = false;
  static F32x16 load16(const Element* p) { return load_bf16(p); }
  static void store16(Element* p, F32x16 x, float) { store_bf16(p, x); }
};
struct F16 {
  using Element = uint16_t;
  static constexpr bool kTokenScales = false;
  static F32x16 load16(const Element* p) { return load_f16(p); }
  static void store16(Element* p, F32x16 x, float) { store_f16(p, x); }
};
struct F32 {
  using Element = float;
  static constexpr bool kTokenScales = false;
  static F32x16 load16(const Element* p) { return load(p); }
  static void store16(Element* p, F32x16 x, float) { store(p, x); }
};
struct E4M3 {
  using Element = uint8_t;
  static constexpr bool kTokenScales = false;
  static F32x16 load16(const Element* p) { return load_e4m3(p); }
  static void store16(Element* p, F32x16 x, float scale) {
    float values[16];
    store(values, div(x, set1(scale)));
    for (int i = 0; i < 16; ++i) p[i] = e4m3_from_float(values[i]);
  }
};
struct I8 {
  using Element = int8_t;
  static constexpr bool kTokenScales = true;
  static F32x16 load16(const Element* p) { return load_i8(p); }
  static void store16(Element* p, F32x16 x, float scale) {
    float values[16];
    store(values, x);
    for (int i = 0; i < 16; ++i) {
      const float code = scale > 0 ? __builtin_nearbyintf(values[i] / scale) : 0.0f;
      p[i] = static_cast<int8_t>(code > 127 ? 127 : code < -127 ? -127 : code);
    }
  }
};

constexpr int kRun = static_cast<int>(kKvRun);

// What the token's elements are multiples of; stores it where the token keeps its own.
template <class E>
float scale_of(const float* x, int64_t n, float layer_scale, char* slot) {
  if constexpr (E::kTokenScales) {
    F32x16 largest = set1(0);
    for (int64_t i = 0; i < n; i += 16) largest = max(largest, abs(load_n(x + i, n - i)));
    const uint16_t scale = f16_from_float(reduce_max(largest) / 127);
    __builtin_memcpy(slot, &scale, sizeof scale);
    return f16_to_float(scale);
  }
  return layer_scale;
}

template <class E>
void write_token(const KvWriteArgs& args) {
  auto* k_out = reinterpret_cast<typename E::Element*>(args.k_slot);
  auto* v_out = reinterpret_cast<typename E::Element*>(args.v_slot);
  const int64_t head_dim = args.head_dim;
  const float k_scale = scale_of<E>(args.k, head_dim, args.scale.k, args.k_scale_slot);
  const float v_scale = scale_of<E>(args.v, head_dim, args.scale.v, args.v_scale_slot);
  for (int64_t d = 0; d < head_dim; d += 16) {
    const int64_t n = head_dim - d < 16 ? head_dim - d : 16;
    typename E::Element rounded_k[16], rounded_v[16];
    E::store16(rounded_k, load_n(args.k + d, n), k_scale);
    E::store16(rounded_v, load_n(args.v + d, n), v_scale);
    for (int64_t i = 0; i < n; ++i) k_out[(d + i) * kRun] = rounded_k[i];
    for (int64_t i = 0; i < n; ++i) v_out[d + i] = rounded_v[i];
  }
}

void kv_write(const KvWriteArgs& args) {
  switch (args.dtype) {
    case DType::kBF16:
      return write_token<Bf16>(args);
    case DType::kF16:
      return write_token<F16>(args);
    case DType::kF8E4M3:
      return write_token<E4M3>(args);
    case DType::kI8:
      return write_token<I8>(args);
    default:
      return write_token<F32>(args);
  }
}

// Heads of a group that share the reads of keys, and vectors of channels accumulated together for `heads` heads: what
// the registers hold.
#if defined(TM_ISA_scalar) || defined(TM_ISA_avx2)
constexpr int kHeads = 2;
constexpr int channel_vectors(int) { return 1; }
constexpr int score_runs_together(int) { return 1; }
#else
constexpr int kHeads = 8;
constexpr int channel_vectors(int heads) { return heads <= 4 ? 4 : 2; }
constexpr int score_runs_together(int heads) { return heads <= 3 ? 4 : heads <= 7 ? 2 : 1; }
#endif

// Runs of tokens whose scores meet their maximum together.
constexpr int kStepRuns = 4;
constexpr int kStepTokens = kStepRuns * kRun;

// scores[h] = scale * q[h] . K for R runs, a lane per token; even and odd channels are summed apart, whatever H and R.
template <class E, int H, int R>
TM_FN void score_runs(const typename E::Element* const* runs, const float* q, int64_t head_dim, float scale,
                      float (&scores)[H][kStepTokens], int first) {
  F32x16 even[H][R], odd[H][R];
  for (int h = 0; h < H; ++h)
    for (int r = 0; r < R; ++r) even[h][r] = odd[h][r] = set1(0);
  for (int64_t d = 0; d < head_dim; d += 2) {
    for (int half = 0; half < 2; ++half) {
      F32x16 k[R];
      for (int r = 0; r < R; ++r) k[r] = E::load16(runs[r] + (d + half) * kRun);
      for (int h = 0; h < H; ++h)
        for (int r = 0; r < R; ++r) {
          F32x16& sum = half == 0 ? even[h][r] : odd[h][r];
          sum = fma(set1(q[h * head_dim + d + half]), k[r], sum);
        }
    }
  }
  for (int h = 0; h < H; ++h)
    for (int r = 0; r < R; ++r) store(scores[h] + (first + r) * kRun, mul(add(even[h][r], odd[h][r]), set1(scale)));
}

// out[h][c..] += sum_j p[h][j] V[j][c..] over a step's tokens, for C vectors of channels; n < 16 channels if C is 1.
template <class E, int H, int C>
TM_FN void add_values(const typename E::Element* const (&runs)[kStepRuns], int64_t channel,
                      const float (&p)[H][kStepTokens], int n_tokens, int64_t head_dim, int64_t n, float* out) {
  F32x16 sums[H][C];
  for (int h = 0; h < H; ++h)
    for (int c = 0; c < C; ++c) sums[h][c] = load_n(out + h * head_dim + 16 * c, n - 16 * c);
  for (int begin = 0; begin < n_tokens; begin += kRun) {
    const typename E::Element* v = runs[begin / kRun] + channel;
    const int end = n_tokens - begin < kRun ? n_tokens : begin + kRun;
    for (int j = begin; j < end; ++j, v += head_dim) {
      F32x16 values[C];
      if (n >= 16 * C) {
        for (int c = 0; c < C; ++c) values[c] = E::load16(v + 16 * c);
      } else {
        typename E::Element lanes[16] = {};
        for (int64_t i = 0; i < n; ++i) lanes[i] = v[i];
        values[0] = E::load16(lanes);
      }
      for (int h = 0; h < H; ++h)
        for (int c = 0; c < C; ++c) sums[h][c] = fma(set1(p[h][j]), values[c], sums[h][c]);
    }
  }
  for (int h = 0; h < H; ++h)
    for (int c = 0; c < C; ++c) store_n(out + h * head_dim + 16 * c, sums[h][c], n - 16 * c);
}

TM_FN void scale_row(float* x, int64_t n, F32x16 factor) {
  for (int64_t i = 0; i < n; i += 16) store_n(x + i, mul(load_n(x + i, n - i), factor), n - i);
}

template <class E, int H>
void attend(const AttentionArgs& args, const float* q, float* out) {
  const HeadView& kv = args.kv;
  const int64_t head_dim = kv.head_dim;
  float maxima[H];
  F32x16 sums[H];  // of exp(score - maximum), a lane per position modulo 16
  for (int h = 0; h < H; ++h) {
    maxima[h] = -__builtin_inff();
    sums[h] = set1(0);
  }
  for (int64_t i = 0; i < H * head_dim; ++i) out[i] = 0;

  for (int64_t begin = 0; begin < args.n_context; begin += kStepTokens) {
    const int64_t left = args.n_context - begin;
    const int n_tokens = left < kStepTokens ? static_cast<int>(left) : kStepTokens;
    const int n_runs = (n_tokens + kRun - 1) / kRun;
    const typename E::Element *k[kStepRuns], *v[kStepRuns];
    [[maybe_unused]] F32x16 k_scales[kStepRuns], v_scales[kStepRuns];  // of the runs' tokens
    float p[H][kStepTokens];                                           // scores, then weights
    F32x16 largest[H];
    for (int h = 0; h < H; ++h) largest[h] = set1(-__builtin_inff());
    for (int r = 0; r < n_runs; ++r) {
      const int64_t token = begin + r * kRun;
      const char* block = kv.blocks + args.block_table[token / kv.block_size] * kv.block_bytes;
      const int64_t offset = token % kv.block_size * head_dim;
      v[r] = reinterpret_cast<const typename E::Element*>(block + kv.v_offset) + offset;
      k[r] = reinterpret_cast<const typename E::Element*>(block) + offset;
      if constexpr (E::kTokenScales) {
        const char* scales = block + kv.scales_offset + token % kv.block_size * 2;
        k_scales[r] = load_f16(reinterpret_cast<const uint16_t*>(scales));
        v_scales[r] = load_f16(reinterpret_cast<const uint16_t*>(scales + kv.v_offset));
      }
    }
    const float scale = args.scale * args.kv_scale.k;
    constexpr int kRuns = score_runs_together(H);
    int run = 0;
    for (; run + kRuns <= n_runs; run += kRuns) score_runs<E, H, kRuns>(k + run, q, head_dim, scale, p, run);
    for (; run < n_runs; ++run) score_runs<E, H, 1>(k + run, q, head_dim, scale, p, run);
    for (int r = 0; r < n_runs; ++r)
      for (int h = 0; h < H; ++h) {
        F32x16 scores = load(p[h] + r * kRun);
        if constexpr (E::kTokenScales) scores = mul(scores, k_scales[r]);
        scores = fill_from(scores, n_tokens - r * kRun, -__builtin_inff());
        largest[h] = max(largest[h], scores);
        store(p[h] + r * kRun, scores);
      }
    for (int h = 0; h < H; ++h) {
      const float maximum = reduce_max(largest[h]);
      if (maximum > maxima[h]) {
        const F32x16 shrink = exp(set1(maxima[h] - maximum));
        sums[h] = mul(sums[h], shrink);
        scale_row(out + h * head_dim, head_dim, shrink);
        maxima[h] = maximum;
      }
    }
    for (int h = 0; h < H; ++h)
      for (int r = 0; r * kRun < n_tokens; ++r) {
        F32x16 weights = exp(sub(load(p[h] + r * kRun), set1(maxima[h])));
        sums[h] = add(sums[h], weights);
        if constexpr (E::kTokenScales) weights = mul(weights, v_scales[r]);
        store(p[h] + r * kRun, weights);
      }
    constexpr int kChannelVectors = channel_vectors(H);
    int64_t c = 0;
    for (; c + 16 * kChannelVectors <= head_dim; c += 16 * kChannelVectors)
      add_values<E, H, kChannelVectors>(v, c, p, n_tokens, head_dim, 16 * kChannelVectors, out + c);
    for (; c < head_dim; c += 16) add_values<E, H, 1>(v, c, p, n_tokens, head_dim, head_dim - c, out + c);
  }
  for (int h = 0; h < H; ++h) scale_row(out + h * head_dim, head_dim, set1(args.kv_scale.v / reduce_add(sums[h])));
}

template <class E, int H>
void attend_heads(const AttentionArgs& args, int64_t n, const float* q, float* out) {
  if constexpr (H > 1) {
    if (n < H) return attend_heads<E, H - 1>(args, n, q, out);
  }
  attend<E, H>(args, q, out);
}

template <class E>
void attend_group(const AttentionArgs& args) {
  for (int64_t h = 0; h < args.group; h += kHeads)
    attend_heads<E, kHeads>(args, args.group - h, args.q + h * args.kv.head_dim, args.out + h * args.kv.head_dim);
}

void attention(const AttentionArgs& args) {
  switch (args.kv.dtype) {
    case DType::kBF16:
      return attend_group<Bf16>(args);
    case DType::kF16:
      return attend_group<F16>(args);
    case DType::kF8E4M3:
      return attend_group<E4M3>(args);
    case DType::kI8:
      return attend_group<I8>(args);
    default:
      return attend_group<F32>(args);
  }
}

}  // namespace

constinit const OpsTable ops{rms_norm, rope, kv_write, attention, silu_mul};

}  // namespace trimeter::TM_ISA
