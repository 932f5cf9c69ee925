#include "algorithms/awq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "algorithms/quadratic_form.h"

namespace trimeter {
namespace {

constexpr double kUnit = 0x1p-24;  // unit roundoff of float

// make_awq_golden.py has the same: multiples of 2^-16 in [-1/2, 1/2).
std::vector<float> uniform(uint32_t seed, int64_t n) {
  std::vector<float> values(n);
  for (int64_t i = 0; i < n; ++i) {
    uint32_t x = static_cast<uint32_t>(i) * 0x9E3779B9u + seed;
    x = (x ^ (x >> 16)) * 0x21F0AAADu;
    x = (x ^ (x >> 15)) * 0x735A2D97u;
    x ^= x >> 15;
    values[i] = static_cast<float>(x >> 16) / 65536.0f - 0.5f;
  }
  return values;
}

struct Problem {
  int64_t in = 256, out = 24, n_tokens = 96;
  std::vector<float> x, w;
};

// The golden file's problem: outlier channels 5, 42, ..., quiet ones 7, 12, ..., and outlier weights in column 11.
Problem make_problem() {
  Problem p;
  p.x = uniform(1, p.n_tokens * p.in);
  const auto a = uniform(2, p.out * p.in), b = uniform(3, p.out * p.in), c = uniform(4, p.out * p.in);
  p.w.resize(p.out * p.in);
  for (size_t i = 0; i < p.w.size(); ++i) p.w[i] = (a[i] + b[i] + c[i]) / 8;
  for (int64_t t = 0; t < p.n_tokens; ++t) {
    for (int64_t i = 5; i < p.in; i += 37) p.x[t * p.in + i] *= 16;
    for (int64_t i = 7; i < p.in; i += 5) p.x[t * p.in + i] *= 0.25f;
  }
  for (int64_t row = 0; row < p.out; row += 3) p.w[row * p.in + 11] *= 4;
  return p;
}

InputStatistics statistics(const std::vector<float>& x, int64_t in, ThreadPool& pool) {
  InputStatistics s(in);
  s.add(x.data(), static_cast<int64_t>(x.size()) / in, pool);
  return s;
}

const Scheme& int4() { return scheme("int4_g128_zp"); }

CanonicalWeight quantize(const std::vector<float>& w, int64_t in) {
  const int64_t out = static_cast<int64_t>(w.size()) / in;
  const DenseRows rows{.data = reinterpret_cast<const std::byte*>(w.data()), .dtype = DType::kF32, .n_rows = out};
  return int4().quantize_rtn(std::span(&rows, 1), {.out = out, .in = in});
}

std::vector<float> minus(std::vector<float> a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
  return a;
}

// sum over outputs [row][token] of (x . d[row])^2 for the columns [begin, end), in double.
std::vector<double> direct_errors(const std::vector<float>& x, const std::vector<float>& d, int64_t in, int64_t begin,
                                  int64_t end) {
  std::vector<double> errors(d.size() / in);
  for (size_t row = 0; row < errors.size(); ++row)
    for (size_t t = 0; t < x.size() / in; ++t) {
      double y = 0;
      for (int64_t i = begin; i < end; ++i)
        y += static_cast<double>(x[t * in + i]) * static_cast<double>(d[row * in + i]);
      errors[row] += y * y;
    }
  return errors;
}

double sum(const std::vector<double>& v) {
  double total = 0;
  for (double x : v) total += x;
  return total;
}

// The float error of |X D^T|^2 by way of G: n roundings in each sum of G (and one in each product), in + 1 in each
// product with it, all relative to the sum of the terms' magnitudes, |d|^T |X|^T |X| |d|.
double float_error_bound(const std::vector<float>& x, const std::vector<float>& d, int64_t in) {
  std::vector<float> ax = x, ad = d;
  for (float& v : ax) v = std::fabs(v);
  for (float& v : ad) v = std::fabs(v);
  const double n = static_cast<double>(x.size() / in);
  return (n + static_cast<double>(in) + 3) * kUnit * 1.01 * sum(direct_errors(ax, ad, in, 0, in));
}

TEST(Awq, GramErrorEqualsDirectProduct) {
  ThreadPool pool(2);
  for (const int64_t out : {int64_t{1}, int64_t{64}, int64_t{131}}) {
    const int64_t in = 128, n = 37;
    const std::vector<float> x = uniform(11, n * in), d = uniform(12, out * in);
    const double scale = static_cast<double>(n * out);
    const double want = sum(direct_errors(x, d, in, 0, in)) / scale;
    EXPECT_NEAR(output_error(d, statistics(x, in, pool), pool), want, float_error_bound(x, d, in) / scale) << out;
  }
}

TEST(Awq, StatisticsAreSumsOverTokens) {
  ThreadPool pool(3);
  const int64_t in = 128;
  const std::vector<float> x = uniform(5, 30 * in);
  InputStatistics pieces(in);
  pieces.add(x.data(), 13, pool);
  pieces.add(x.data() + 13 * in, 17, pool);
  EXPECT_EQ(pieces.n_tokens, 30);
  for (int64_t i = 0; i < in; ++i) {
    double abs_sum = 0;
    for (int64_t t = 0; t < 30; ++t) abs_sum += std::fabs(static_cast<double>(x[t * in + i]));
    EXPECT_DOUBLE_EQ(pieces.abs_sum[i], abs_sum);
    for (int64_t j = 0; j < in; ++j) {
      double want = 0, magnitude = 0;
      for (int64_t t = 0; t < 30; ++t) {
        const double term = static_cast<double>(x[t * in + i]) * static_cast<double>(x[t * in + j]);
        want += term;
        magnitude += std::fabs(term);
      }
      ASSERT_NEAR(pieces.gram[i * in + j], want, 31 * kUnit * magnitude) << i << ", " << j;
    }
  }
}

TEST(Awq, DividedStatisticsAreThoseOfDividedInputs) {
  ThreadPool pool(1);
  const int64_t in = 128, n = 20;
  std::vector<float> x = uniform(6, n * in), s(in);
  for (int64_t i = 0; i < in; ++i) s[i] = std::ldexp(1.0f, static_cast<int>(i % 7) - 3);  // exact divisions
  InputStatistics divided = statistics(x, in, pool);
  divided.divide(s);
  for (int64_t i = 0; i < n * in; ++i) x[i] /= s[i % in];
  const InputStatistics want = statistics(x, in, pool);
  EXPECT_EQ(divided.gram, want.gram);
  EXPECT_EQ(divided.abs_sum, want.abs_sum);
}

TEST(Awq, SameBitsForAnyNumberOfThreads) {
  const Problem p = make_problem();
  ThreadPool one(1), three(3);
  const InputStatistics a = statistics(p.x, p.in, one), b = statistics(p.x, p.in, three);
  EXPECT_EQ(a.gram, b.gram);
  const AwqScales sa = awq_search_scales(p.w, a, int4(), {}, one), sb = awq_search_scales(p.w, b, int4(), {}, three);
  EXPECT_EQ(sa.exponent, sb.exponent);
  EXPECT_EQ(sa.error, sb.error);
  std::vector<float> wa = p.w, wb = p.w;
  awq_clip(wa, a, int4(), {}, one);
  awq_clip(wb, b, int4(), {}, three);
  EXPECT_EQ(wa, wb);
}

// norm -> linear and linear -> linear: y = W2 (W1 (g . x)) before and after both folds. Each weight and norm is rounded
// once more by its fold, so a term of the sum moves by at most 4 roundings (g, W1 twice, W2).
TEST(Awq, FoldLeavesTheFunction) {
  const int64_t hidden = 128, middle = 64, out = 8;
  const std::vector<float> x = uniform(21, hidden), g = uniform(22, hidden), w1 = uniform(23, middle * hidden),
                           w2 = uniform(24, out * middle);
  const auto run = [&](const std::vector<float>& norm, const std::vector<float>& first,
                       const std::vector<float>& second, bool magnitudes) {
    const auto part = [&](float v) { return magnitudes ? std::fabs(static_cast<double>(v)) : static_cast<double>(v); };
    std::vector<double> y(out);
    for (int64_t m = 0; m < middle; ++m) {
      double h = 0;
      for (int64_t i = 0; i < hidden; ++i) h += part(first[m * hidden + i]) * part(norm[i]) * part(x[i]);
      for (int64_t o = 0; o < out; ++o) y[o] += part(second[o * middle + m]) * h;
    }
    return y;
  };
  std::vector<float> s1 = uniform(25, hidden), s2 = uniform(26, middle);
  for (float& s : s1) s = std::exp(8 * s);  // planted outliers: e^-4 to e^4
  for (float& s : s2) s = std::exp(8 * s);
  std::vector<float> norm = g, first = w1, second = w2;
  divide_rows(norm, s1);
  multiply_columns(first, s1);
  divide_rows(first, s2);
  multiply_columns(second, s2);
  EXPECT_NE(first, w1);
  const std::vector<double> before = run(g, w1, w2, false), after = run(norm, first, second, false);
  const std::vector<double> magnitude = run(g, w1, w2, true);
  for (int64_t o = 0; o < out; ++o) EXPECT_NEAR(after[o], before[o], 4.01 * kUnit * magnitude[o]) << o;
}

TEST(Awq, ExponentZeroIsRoundToNearest) {
  ThreadPool pool(2);
  const Problem p = make_problem();
  const InputStatistics input = statistics(p.x, p.in, pool);
  const AwqScales only_rtn = awq_search_scales(p.w, input, int4(), {.n_grid = 1}, pool);
  EXPECT_EQ(only_rtn.exponent, 0);
  for (float s : only_rtn.scales) ASSERT_EQ(s, 1.0f);
  EXPECT_EQ(only_rtn.error, only_rtn.error_rtn);
  EXPECT_EQ(only_rtn.error, output_error(minus(int4().dequantize(quantize(p.w, p.in)), p.w), input, pool));
}

// Four channels of 512 carry activations 64 times the others': nearly all of the error is the rounding of their
// weights. Scaled by s, such a weight is rounded s times finer, as long as its group's range does not grow; ranges here
// are set by 128 weights of one distribution, and those of the outliers are 8 times smaller than the rest, so that s up
// to 8 is free: the outliers' part of the squared error falls by 64. What remains of it and the small channels' part
// (4% of the sum before) leave a factor of at least 10.
TEST(Awq, OutlierChannelsAreProtected) {
  ThreadPool pool(2);
  const int64_t in = 512, out = 32, n = 200;
  std::vector<float> x = uniform(31, n * in), w = uniform(32, out * in);
  for (int64_t channel : {3, 140, 260, 500}) {
    for (int64_t t = 0; t < n; ++t) x[t * in + channel] *= 64;
    for (int64_t row = 0; row < out; ++row) w[row * in + channel] /= 8;
  }
  const AwqScales found = awq_search_scales(w, statistics(x, in, pool), int4(), {}, pool);
  EXPECT_GT(found.exponent, 0.2);
  EXPECT_LT(found.error * 10, found.error_rtn);
  EXPECT_GT(found.error, 0);
}

TEST(Awq, ClippingNeverRaisesAGroupsError) {
  ThreadPool pool(2);
  const Problem p = make_problem();
  std::vector<float> clipped = p.w;
  const AwqClip found = awq_clip(clipped, statistics(p.x, p.in, pool), int4(), {}, pool);
  const auto before = minus(int4().dequantize(quantize(p.w, p.in)), p.w);
  const auto after = minus(int4().dequantize(quantize(clipped, p.in)), p.w);
  int n_better = 0;
  double sum_before = 0, sum_after = 0, slack = 0;
  for (int64_t g = 0; g < p.in; g += 128) {
    const auto a = direct_errors(p.x, before, p.in, g, g + 128), b = direct_errors(p.x, after, p.in, g, g + 128);
    slack = float_error_bound(p.x, before, p.in);
    for (int64_t row = 0; row < p.out; ++row) {
      EXPECT_LE(b[row], a[row] + slack) << row << ", " << g;
      n_better += b[row] < a[row] * 0.99;
    }
    sum_before += sum(a);
    sum_after += sum(b);
  }
  EXPECT_GE(n_better, 5);
  const double per_output = static_cast<double>(p.n_tokens * p.out);
  EXPECT_NEAR(found.error_before, sum_before / per_output, slack / per_output);
  EXPECT_NEAR(found.error_after, sum_after / per_output, slack / per_output);
}

TEST(Awq, AWholeRowIsAGroupWhereTheSchemeHasNone) {
  ThreadPool pool(2);
  const Problem p = make_problem();
  const Scheme& channel = scheme("int4_channel_zp");
  std::vector<float> clipped = p.w;
  const AwqClip found = awq_clip(clipped, statistics(p.x, p.in, pool), channel, {}, pool);
  EXPECT_LT(found.error_after, found.error_before);
  for (int64_t row = 0; row < p.out; ++row) {  // one limit a row
    float limit = 0;
    for (int64_t k = 0; k < p.in; ++k) limit = std::max(limit, std::fabs(clipped[row * p.in + k]));
    for (int64_t i = row * p.in; i < (row + 1) * p.in; ++i) EXPECT_EQ(clipped[i], std::clamp(p.w[i], -limit, limit));
  }
}

// Most of the group's range is of no use: the rounding error is measured in steps of 4.5 / 15 as it stands, and of
// 2.7 / 15 at 0.55 of it. Which step near the end is best is a matter of where the other weights happen to round.
TEST(Awq, AWeightThatNoActivationSeesIsClipped) {
  ThreadPool pool(1);
  const int64_t in = 128, n = 64;
  std::vector<float> x = uniform(41, n * in), w = uniform(42, in);
  for (int64_t t = 0; t < n; ++t) x[t * in + 77] = 0;
  w[77] = 4;  // eight times the rest
  const std::vector<float> before = w;
  awq_clip(w, statistics(x, in, pool), int4(), {}, pool);
  EXPECT_LE(w[77], 4 * 0.7f);
  EXPECT_GE(w[77], 4 * 0.55f);
  w[77] = before[77];
  EXPECT_EQ(w, before);
}

TEST(Awq, NoShrinkNoChange) {
  ThreadPool pool(1);
  const Problem p = make_problem();
  std::vector<float> w = p.w;
  awq_clip(w, statistics(p.x, p.in, pool), int4(), {.max_shrink = 0}, pool);
  EXPECT_EQ(w, p.w);
}

nlohmann::json read_golden() {
  const char* root = std::getenv("TRIMETER_SOURCE_DIR");
  EXPECT_NE(root, nullptr) << "run by ctest, or set TRIMETER_SOURCE_DIR";
  std::ifstream file(std::string(root) + "/tests/golden/awq/small.json");
  return nlohmann::json::parse(file);
}

// Against numpy's direct products in float64. The script that made the file refuses near ties, so choices and codes are
// equal exactly; errors are compared within the bound of the float sums.
TEST(Awq, AgreesWithTheReferenceFormulaInNumpy) {
  const nlohmann::json golden = read_golden();
  ThreadPool pool(2);
  const Problem p = make_problem();
  ASSERT_EQ(golden["in"], p.in);
  InputStatistics input = statistics(p.x, p.in, pool);

  const AwqScales found = awq_search_scales(p.w, input, int4(), {}, pool);
  EXPECT_EQ(found.exponent, golden["exponent"].get<double>());
  ASSERT_EQ(found.scales, golden["scales"].get<std::vector<float>>());
  const std::vector<double> errors = golden["errors"];
  const double per_output = static_cast<double>(p.n_tokens * p.out);
  const auto rtn_difference = minus(int4().dequantize(quantize(p.w, p.in)), p.w);
  EXPECT_NEAR(found.error_rtn, errors[0], float_error_bound(p.x, rtn_difference, p.in) / per_output);

  std::vector<float> w = p.w;
  multiply_columns(w, found.scales);
  const std::vector<float> scaled = w;
  std::vector<float> back = int4().dequantize(quantize(w, p.in));
  for (int64_t i = 0; i < p.out * p.in; ++i) back[i] /= found.scales[i % p.in];
  EXPECT_NEAR(found.error, *std::min_element(errors.begin(), errors.end()),
              float_error_bound(p.x, minus(back, p.w), p.in) / per_output);
  input.divide(found.scales);
  awq_clip(w, input, int4(), {}, pool);
  for (int64_t row = 0; row < p.out; ++row)
    for (int64_t g = 0; g < p.in / 128; ++g) {
      float largest = 0, limit = 0;
      for (int64_t i = row * p.in + g * 128; i < row * p.in + (g + 1) * 128; ++i) {
        largest = std::max(largest, std::fabs(scaled[i]));
        limit = std::max(limit, std::fabs(w[i]));
      }
      const double step = golden["clip_steps"][row][g];
      EXPECT_EQ(limit, largest * static_cast<float>(1 - step / 20)) << row << ", " << g;
    }

  const CanonicalWeight q = quantize(w, p.in);
  for (int64_t row = 0; row < p.out; ++row) {
    std::string codes;
    for (int64_t i = 0; i < p.in; ++i) codes += "0123456789abcdef"[q.codes[row * p.in + i]];
    EXPECT_EQ(codes, golden["codes"][row].get<std::string>()) << row;
    for (int64_t g = 0; g < p.in / 128; ++g) {
      EXPECT_EQ(q.scales[row * 2 + g], golden["group_scales"][row][g].get<float>());
      EXPECT_EQ(q.zeros[row * 2 + g], golden["zeros"][row][g].get<int>());
    }
  }
}

}  // namespace
}  // namespace trimeter
