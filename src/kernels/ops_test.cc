#include "kernels/ops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "tensor/buffer.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr double kUnit = 0x1p-24;

std::vector<float> random_floats(int64_t n, uint32_t seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(n);
  for (float& value : values) value = normal(generator);
  return values;
}

constexpr KvScale kScale{.k = 0.01f, .v = 0.02f};
constexpr DType kCacheDTypes[] = {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3, DType::kI8};

float int8_scale(const float* x, int64_t n) {
  float amax = 0;
  for (int64_t i = 0; i < n; ++i) amax = std::max(amax, std::fabs(x[i]));
  return f16_to_float(f16_from_float(amax / 127));
}
int8_t int8_code(float x, float scale) {
  return static_cast<int8_t>(std::clamp(std::nearbyint(x / scale), -127.0f, 127.0f));
}

// x as a cache of `dtype` gives it back: one token and head of K (or V, with its layer's scale).
std::vector<float> round_to(DType dtype, const float* x, int64_t n, float layer_scale) {
  std::vector<float> y(x, x + n);
  const float scale = int8_scale(x, n);
  for (float& value : y) {
    if (dtype == DType::kBF16) value = bf16_to_float(bf16_from_float(value));
    if (dtype == DType::kF16) value = f16_to_float(f16_from_float(value));
    if (dtype == DType::kF8E4M3) value = e4m3_to_float(e4m3_from_float(value / layer_scale)) * layer_scale;
    if (dtype == DType::kI8) value = static_cast<float>(int8_code(value, scale)) * scale;
  }
  return y;
}

class Ops : public testing::TestWithParam<Isa> {
 protected:
  const Isa isa = GetParam();
};
INSTANTIATE_TEST_SUITE_P(PerIsa, Ops, testing::ValuesIn(runnable_isas()),
                         [](const auto& test) { return std::string(name(test.param)); });

// The sum: n/64 + 6 roundings of positive terms and one per square; then root, two products and the scale's rounding.
TEST_P(Ops, RmsNormAgreesWithDouble) {
  for (const int64_t n : {1, 15, 16, 63, 64, 100, 256, 896, 4097}) {
    const std::vector<float> x = random_floats(n, 1, 3), g = random_floats(n, 2);
    std::vector<float> y = x;
    rms_norm(y.data(), g.data(), 1e-6, n, y.data(), isa);
    double sum = 0;
    for (const float v : x) sum += double{v} * v;
    const double scale = 1 / std::sqrt(sum / static_cast<double>(n) + 1e-6);
    const double relative = (static_cast<double>(n) / 64 + 12) * kUnit;
    for (int64_t i = 0; i < n; ++i) {
      const double want = g[i] * (x[i] * scale);
      ASSERT_NEAR(y[i], want, std::fabs(want) * relative) << n << " at " << i;
    }
  }
}

// x1 c - x2 s: two products and a difference, three roundings of at most |x1 c| + |x2 s|.
TEST_P(Ops, RopeRotatesHalves) {
  for (const int64_t head_dim : {2, 6, 32, 64, 80, 128}) {
    const int64_t half = head_dim / 2, n_heads = 3;
    std::vector<float> cos(half), sin(half);
    for (int64_t i = 0; i < half; ++i) {
      cos[i] = static_cast<float>(std::cos(0.3 * static_cast<double>(i + 1)));
      sin[i] = static_cast<float>(std::sin(0.3 * static_cast<double>(i + 1)));
    }
    const std::vector<float> x = random_floats(n_heads * head_dim, 3);
    std::vector<float> y = x;
    rope(y.data(), n_heads, head_dim, cos.data(), sin.data(), isa);
    for (int64_t h = 0; h < n_heads; ++h)
      for (int64_t i = 0; i < half; ++i) {
        const double a = x[h * head_dim + i], b = x[h * head_dim + half + i];
        const double bound = 3 * kUnit * (std::fabs(a) + std::fabs(b));
        ASSERT_NEAR(y[h * head_dim + i], a * cos[i] - b * sin[i], bound);
        ASSERT_NEAR(y[h * head_dim + half + i], b * cos[i] + a * sin[i], bound);
      }
  }
}

// ops.h: relative error at most 2^-21, and 2^-120 absolute where silu falls below that.
TEST_P(Ops, SiluMulAgreesWithDoubleOverTheWholeRange) {
  std::vector<float> gate{0.0f, -0.0f, 1e-30f, -1e-30f, 1e4f, -1e4f, 3e38f, -3e38f};
  for (double x = -130; x < 130; x += 0.003) gate.push_back(static_cast<float>(x));
  const int64_t n = static_cast<int64_t>(gate.size());
  const std::vector<float> up = random_floats(n, 4);
  std::vector<float> y(n);
  silu_mul(gate.data(), up.data(), n, y.data(), isa);
  for (int64_t i = 0; i < n; ++i) {
    const double want = gate[i] / (1 + std::exp(-double{gate[i]})) * up[i];
    ASSERT_NEAR(y[i], want, std::fabs(want) * 0x1p-21 + 0x1p-120 * std::fabs(up[i])) << gate[i];
  }
}

struct Cache {
  KvLayout layout;
  Buffer pool;
  KvView view;
  std::vector<int32_t> table;
  std::vector<float> k, v;  // [token][head][dim], as given

  // n tokens in scattered blocks of a pool full of NaN.
  Cache(DType dtype, int64_t head_dim, int64_t block_size, int64_t n_tokens, Isa isa)
      : layout{.n_layers = 2, .n_kv_heads = 2, .head_dim = head_dim, .block_size = block_size, .dtype = dtype} {
    const int64_t n_blocks = (n_tokens + block_size - 1) / block_size;
    pool = Buffer(n_blocks * layout.block_bytes());
    std::fill_n(pool.data(), pool.size(), std::byte{0xff});
    view = {layout, pool.data()};
    for (int64_t i = 0; i < n_blocks; ++i) table.push_back(static_cast<int32_t>(n_blocks - 1 - i));
    const int64_t width = layout.n_kv_heads * head_dim;
    k = random_floats(n_tokens * width, 5);
    v = random_floats(n_tokens * width, 6);
    for (int64_t t = 0; t < n_tokens; ++t)
      kv_write(view, 1, table[t / block_size], t % block_size, &k[t * width], &v[t * width], kScale, isa);
  }
};

// Softmax weights are positive and sum to 1, so an output errs by the weights' relative error times max |v|: the
// score's absolute error (head_dim + 6 roundings of scale * sum |q k|), exp (2^-22), n additions; and n more in the sum
// over v.
TEST_P(Ops, AttentionAgreesWithDouble) {
  for (const DType dtype : kCacheDTypes)
    for (const int64_t head_dim : {2, 32, 64, 80, 128})
      for (const int64_t n_context : {1, 15, 16, 17, 100}) {
        const int64_t group = 7, kv_head = 1;
        const Cache cache(dtype, head_dim, 32, n_context, isa);
        const float scale = 1 / std::sqrt(static_cast<float>(head_dim));
        const std::vector<float> q = random_floats(group * head_dim, 7);
        std::vector<float> out(group * head_dim);
        attention(cache.view, 1, kv_head, cache.table.data(), n_context, q.data(), group, scale, kScale, out.data(),
                  isa);
        std::vector<std::vector<float>> k(n_context), v(n_context);
        for (int64_t t = 0; t < n_context; ++t) {
          const int64_t at = (t * 2 + kv_head) * head_dim;
          k[t] = round_to(dtype, &cache.k[at], head_dim, kScale.k);
          v[t] = round_to(dtype, &cache.v[at], head_dim, kScale.v);
        }
        for (int64_t h = 0; h < group; ++h) {
          std::vector<double> p(n_context);
          double size = 0, total = 0, v_max = 0;
          for (int64_t t = 0; t < n_context; ++t) {
            double score = 0, terms = 0;
            for (int64_t d = 0; d < head_dim; ++d) {
              const double kd = k[t][d];
              score += q[h * head_dim + d] * kd;
              terms += std::fabs(q[h * head_dim + d] * kd);
              v_max = std::max(v_max, std::fabs(double{v[t][d]}));
            }
            p[t] = std::exp(score * scale);
            total += p[t];
            size = std::max(size, terms * scale);
          }
          const double weight_error = 2 * (static_cast<double>(head_dim) + 6) * kUnit * size + 0x1p-21;
          const double bound = 2 * v_max * (weight_error + 2 * static_cast<double>(n_context + 4) * kUnit);
          for (int64_t d = 0; d < head_dim; ++d) {
            double want = 0;
            for (int64_t t = 0; t < n_context; ++t) want += p[t] / total * v[t][d];
            ASSERT_NEAR(out[h * head_dim + d], want, bound)
                << name(dtype) << " head_dim " << head_dim << " context " << n_context << " head " << h << " " << d;
          }
        }
      }
}

TEST_P(Ops, AttentionHasTheSameBitsForEveryBlockSizeAndGroup) {
  const int64_t head_dim = 64, n_context = 75, group = 5;
  const std::vector<float> q = random_floats(group * head_dim, 8);
  for (const DType dtype : kCacheDTypes) {
    const Cache small(dtype, head_dim, 16, n_context, isa), large(dtype, head_dim, 64, n_context, isa);
    std::vector<float> a(q.size()), b(q.size()), one(q.size());
    attention(small.view, 1, 0, small.table.data(), n_context, q.data(), group, 0.125f, kScale, a.data(), isa);
    attention(large.view, 1, 0, large.table.data(), n_context, q.data(), group, 0.125f, kScale, b.data(), isa);
    for (int64_t h = 0; h < group; ++h)
      attention(small.view, 1, 0, small.table.data(), n_context, &q[h * head_dim], 1, 0.125f, kScale,
                &one[h * head_dim], isa);
    EXPECT_EQ(a, b);
    EXPECT_EQ(a, one);
  }
}

TEST_P(Ops, KvWriteRoundsAsTheScalarFormulaAndTouchesOneSlot) {
  for (const DType dtype : kCacheDTypes) {
    const KvLayout layout{.n_layers = 1, .n_kv_heads = 2, .head_dim = 20, .block_size = 32, .dtype = dtype};
    Buffer pool(2 * layout.block_bytes());
    const std::vector<float> k = random_floats(40, 9), v = random_floats(40, 10);
    kv_write({layout, pool.data()}, 0, 1, 21, k.data(), v.data(), kScale, isa);
    Buffer want(pool.size());
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t d = 0; d < 20; ++d) {
        const int64_t k_index = (16 * 20) + d * 16 + 5, v_index = 21 * 20 + d;  // slot 21: run 1, lane 5
        const auto put = [&](int64_t offset, int64_t index, float x, float layer_scale, float token_scale) {
          std::byte* p = want.data() + offset + index * size_of(dtype);
          if (dtype == DType::kF32) *reinterpret_cast<float*>(p) = x;
          if (dtype == DType::kF16) *reinterpret_cast<uint16_t*>(p) = f16_from_float(x);
          if (dtype == DType::kBF16) *reinterpret_cast<uint16_t*>(p) = bf16_from_float(x);
          if (dtype == DType::kF8E4M3) *reinterpret_cast<uint8_t*>(p) = e4m3_from_float(x / layer_scale);
          if (dtype != DType::kI8) return;
          *reinterpret_cast<int8_t*>(p) = int8_code(x, token_scale);
          *reinterpret_cast<uint16_t*>(want.data() + offset + layout.element_bytes() + 21 * 2) =
              f16_from_float(token_scale);
        };
        put(layout.k_offset(1, 0, h), k_index, k[h * 20 + d], kScale.k, int8_scale(&k[h * 20], 20));
        put(layout.v_offset(1, 0, h), v_index, v[h * 20 + d], kScale.v, int8_scale(&v[h * 20], 20));
      }
    EXPECT_TRUE(std::equal(pool.data(), pool.data() + pool.size(), want.data())) << name(dtype);
  }
}

}  // namespace
}  // namespace trimeter
