#include "algorithms/gptq.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>

#include "algorithms/awq.h"
#include "base/error.h"

namespace trimeter {
namespace {

// make_gptq_golden.py has the same: multiples of 2^-16 in [-1/2, 1/2).
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
  int64_t in, out, n_tokens;
  std::vector<float> x, w;
};

// The golden file's problem at any size: neighbouring inputs correlated, 5, 42, ... outliers, two of them dead.
Problem make_problem(int64_t in, int64_t out, int64_t n_tokens) {
  Problem p{in, out, n_tokens, uniform(1, n_tokens * in), {}};
  for (float& v : p.x) v = std::floor(v * 16);
  for (int64_t t = 0; t < n_tokens; ++t) {
    float* x = &p.x[t * in];
    for (int64_t i = in - 1; i > 0; --i) x[i] += x[i - 1];
    for (int64_t i = 5; i < in; i += 37) x[i] *= 8;
    x[17] = x[130 % in] = 0;
  }
  for (float& v : p.x) v /= 16;
  const std::vector<float> a = uniform(2, out * in), b = uniform(4, out * in);
  for (int64_t i = 0; i < out * in; ++i) p.w.push_back((a[i] + b[i]) / 4);
  return p;
}

InputStatistics statistics(const Problem& p, ThreadPool& pool) {
  InputStatistics s(p.in);
  s.add(p.x.data(), p.n_tokens, pool);
  return s;
}

IntegerGrid grid(int bits, bool zero_points, int64_t group) {
  return {.bits = bits, .zero_points = zero_points, .group_size = group};
}

int64_t group_of(const CanonicalWeight& q, int64_t group, int64_t i) {
  if (!q.group_of_input.empty()) return q.group_of_input[i];
  return group > 0 ? i / group : 0;
}

std::vector<float> dequantize(const CanonicalWeight& q, const IntegerGrid& grid) {
  const int64_t in = q.shape.in, n_groups = std::ssize(q.scales) / q.shape.out;
  std::vector<float> w(q.codes.size());
  for (int64_t i = 0; i < std::ssize(w); ++i) {
    const int64_t g = i / in * n_groups + group_of(q, grid.group_size, i % in);
    const int zero = grid.zero_points ? q.zeros[g] : grid.middle();
    w[i] = static_cast<float>(q.codes[i] - zero) * q.scales[g];
  }
  return w;
}

// Optimal brain quantization in a fixed order, without any of GPTQ's economies: the inverse Hessian of what is left is
// kept whole, and each step eliminates its input from it (arXiv:2208.11580, equations 2 and 3).
class Oracle {
 public:
  Oracle(const Problem& p, const IntegerGrid& grid, const GptqOptions& options, ThreadPool& pool)
      : p_(p), grid_(grid), options_(options), order_(p.in) {
    const InputStatistics input = statistics(p, pool);
    std::iota(order_.begin(), order_.end(), 0);
    if (options.act_order)
      std::stable_sort(order_.begin(), order_.end(),
                       [&](int a, int b) { return input.gram[a * p.in + a] > input.gram[b * p.in + b]; });
    std::vector<double> h(p.in * p.in);
    double sum = 0;
    for (int64_t i = 0; i < p.in; ++i)
      for (int64_t j = 0; j < p.in; ++j) {
        h[i * p.in + j] = 2.0 / static_cast<double>(p.n_tokens) * input.gram[order_[i] * p.in + order_[j]];
        if (i != j) continue;
        if (h[i * p.in + i] == 0) h[i * p.in + i] = 1, dead_.push_back(i);
        sum += h[i * p.in + i];
      }
    for (int64_t i = 0; i < p.in; ++i) h[i * p.in + i] += options.damping * sum / static_cast<double>(p.in);
    inverse_ = invert(h);
  }

  std::vector<uint8_t> codes(int64_t row) const {
    const int64_t n = p_.in, group = grid_.group_size > 0 ? grid_.group_size : n;
    std::vector<double> w(n), inverse = inverse_;
    std::vector<float> by_input(n);
    for (int64_t j = 0; j < n; ++j) w[j] = p_.w[row * n + order_[j]];
    for (const int64_t j : dead_) w[j] = 0;
    for (int64_t j = 0; j < n; ++j) by_input[order_[j]] = static_cast<float>(w[j]);
    std::vector<uint8_t> codes(n);
    IntegerGrid::Point point;
    for (int64_t j = 0; j < n; ++j) {
      if (options_.static_groups) {
        point = fit(std::span(by_input).subspan(order_[j] / group * group, group));
      } else if (j % group == 0) {
        point = fit(std::vector<float>(w.begin() + j, w.begin() + j + group));
      }
      codes[order_[j]] = grid_.code(static_cast<float>(w[j]), point);
      const double error = (w[j] - grid_.value(codes[order_[j]], point)) / inverse[j * n + j];
      for (int64_t k = j + 1; k < n; ++k) w[k] -= error * inverse[j * n + k];
      for (int64_t i = j + 1; i < n; ++i)
        for (int64_t k = j + 1; k < n; ++k)
          inverse[i * n + k] -= inverse[i * n + j] * inverse[j * n + k] / inverse[j * n + j];
    }
    return codes;
  }

 private:
  IntegerGrid::Point fit(std::span<const float> values) const {
    IntegerGrid::Point best = grid_.fit(values);
    if (!options_.search_range) return best;
    double least = INFINITY;
    for (int percent = 100; percent > 20; --percent) {
      const IntegerGrid::Point point = grid_.fit(values, static_cast<float>(percent / 100.0));
      double error = 0;
      for (const float v : values)
        error += std::pow(std::fabs(static_cast<double>(grid_.value(grid_.code(v, point), point)) - v), 2.4);
      if (error < least) least = error, best = point;
    }
    return best;
  }

  // Gauss-Jordan; H is positive definite.
  std::vector<double> invert(std::vector<double> h) const {
    const int64_t n = p_.in;
    std::vector<double> inverse(n * n);
    for (int64_t i = 0; i < n; ++i) inverse[i * n + i] = 1;
    for (int64_t c = 0; c < n; ++c) {
      const double pivot = h[c * n + c];
      for (int64_t k = 0; k < n; ++k) h[c * n + k] /= pivot, inverse[c * n + k] /= pivot;
      for (int64_t r = 0; r < n; ++r) {
        const double factor = h[r * n + c];
        if (r == c || factor == 0) continue;
        for (int64_t k = 0; k < n; ++k)
          h[r * n + k] -= factor * h[c * n + k], inverse[r * n + k] -= factor * inverse[c * n + k];
      }
    }
    return inverse;
  }

  const Problem& p_;
  const IntegerGrid& grid_;
  const GptqOptions& options_;
  std::vector<int> order_;
  std::vector<int64_t> dead_;
  std::vector<double> inverse_;
};

struct Case {
  const char* name;
  int64_t in;
  IntegerGrid grid;
  GptqOptions options;
};
const Case kCases[] = {
    {"ZeroPointsG64", 320, grid(4, true, 64), {}},
    {"SymmetricG32InsideABlock", 160, grid(4, false, 32), {}},
    {"GroupOfTwoBlocks", 256, grid(4, true, 256), {}},
    {"PerChannel", 200, grid(8, false, 0), {}},
    {"MoreDamping", 192, grid(4, false, 64), {.damping = 0.1}},
    {"ActOrder", 192, grid(4, true, 64), {.act_order = true}},
    {"ActOrderStatic", 192, grid(4, false, 32), {.act_order = true, .static_groups = true}},
    {"Searched", 192, grid(4, true, 64), {.search_range = true}},
};

class Gptq : public testing::TestWithParam<Case> {};

// No weight of these problems lies so near a tie that the order of a sum in double decides.
TEST_P(Gptq, HasTheCodesOfNaiveOptimalBrainQuantization) {
  const auto& [name, in, grid, options] = GetParam();
  ThreadPool pool(2);
  const Problem p = make_problem(in, 3, 150);
  const CanonicalWeight q = gptq(p.w, statistics(p, pool), grid, options, pool);
  const Oracle oracle(p, grid, options, pool);
  int64_t n_moved = 0;
  for (int64_t row = 0; row < p.out; ++row) {
    const std::vector<uint8_t> want = oracle.codes(row), got(&q.codes[row * in], &q.codes[row * in] + in);
    EXPECT_EQ(got, want) << row;
    const IntegerGrid::Point nearest =
        grid.fit(std::span(p.w).subspan(row * in, grid.group_size ? grid.group_size : in));
    for (int64_t i = 0; i < (grid.group_size ? grid.group_size : in); ++i)
      n_moved += got[i] != grid.code(p.w[row * in + i], nearest);
  }
  EXPECT_GT(n_moved, 10) << "nearest codes would have done";
}

INSTANTIATE_TEST_SUITE_P(Cases, Gptq, testing::ValuesIn(kCases), [](const auto& c) { return c.param.name; });

CanonicalWeight nearest(const Problem& p, const IntegerGrid& grid) {
  CanonicalWeight q;
  q.shape = {p.out, p.in};
  for (int64_t i = 0; i < std::ssize(p.w); i += grid.group_size) {
    const std::span<const float> values = std::span(p.w).subspan(i, grid.group_size);
    const IntegerGrid::Point point = grid.fit(values);
    q.scales.push_back(point.scale);
    if (grid.zero_points) q.zeros.push_back(point.zero);
    for (const float v : values) q.codes.push_back(grid.code(v, point));
  }
  return q;
}

TEST(GptqProperties, UncorrelatedInputsGiveNearestCodes) {
  ThreadPool pool(2);
  Problem p = make_problem(256, 8, 256);
  std::fill(p.x.begin(), p.x.end(), 0.0f);
  for (int64_t i = 0; i < p.in; ++i) p.x[i * p.in + i] = 0.25f + static_cast<float>(i % 5);
  const CanonicalWeight got = gptq(p.w, statistics(p, pool), grid(4, true, 128), {}, pool);
  const CanonicalWeight want = nearest(p, grid(4, true, 128));
  EXPECT_EQ(got.codes, want.codes);
  EXPECT_EQ(got.scales, want.scales);
  EXPECT_EQ(got.zeros, want.zeros);
}

// With 96 tokens and 256 inputs most rounding errors can be made good: at least three quarters of the error goes.
TEST(GptqProperties, CorrelatedInputsGiveASmallerError) {
  ThreadPool pool(2);
  const Problem p = make_problem(256, 16, 96);
  const InputStatistics input = statistics(p, pool);
  const auto error = [&](const CanonicalWeight& q, const IntegerGrid& g) {
    std::vector<float> d = dequantize(q, g);
    for (size_t i = 0; i < d.size(); ++i) d[i] -= p.w[i];
    return output_error(d, input, pool);
  };
  for (const IntegerGrid& g : {grid(4, true, 128), grid(4, false, 32), grid(8, false, 64)}) {
    const double rtn = error(nearest(p, g), g), chosen = error(gptq(p.w, input, g, {}, pool), g);
    EXPECT_LT(chosen, rtn / 4);
    EXPECT_GT(chosen, 0);
    EXPECT_LT(error(gptq(p.w, input, g, {.act_order = true}, pool), g), rtn / 4);
  }
}

// Inputs sorted by hand and done in their order are act-order's, places exchanged.
TEST(GptqProperties, ActOrderIsSortedInputs) {
  ThreadPool pool(2);
  const Problem p = make_problem(192, 5, 150);
  const InputStatistics input = statistics(p, pool);
  std::vector<int> order(p.in);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return input.gram[a * p.in + a] > input.gram[b * p.in + b]; });
  Problem sorted = p;
  for (int64_t j = 0; j < p.in; ++j) {
    for (int64_t t = 0; t < p.n_tokens; ++t) sorted.x[t * p.in + j] = p.x[t * p.in + order[j]];
    for (int64_t row = 0; row < p.out; ++row) sorted.w[row * p.in + j] = p.w[row * p.in + order[j]];
  }
  const IntegerGrid g = grid(4, true, 32);
  const CanonicalWeight got = gptq(p.w, input, g, {.act_order = true}, pool);
  const CanonicalWeight want = gptq(sorted.w, statistics(sorted, pool), g, {}, pool);
  EXPECT_EQ(got.scales, want.scales);
  EXPECT_EQ(got.zeros, want.zeros);
  ASSERT_TRUE(want.group_of_input.empty());
  ASSERT_EQ(std::ssize(got.group_of_input), p.in);
  for (int64_t j = 0; j < p.in; ++j) {
    EXPECT_EQ(got.group_of_input[order[j]], j / 32);
    for (int64_t row = 0; row < p.out; ++row)
      ASSERT_EQ(got.codes[row * p.in + order[j]], want.codes[row * p.in + j]) << row << ", " << j;
  }
  EXPECT_TRUE(gptq(p.w, input, g, {.act_order = true, .static_groups = true}, pool).group_of_input.empty());
  EXPECT_TRUE(gptq(p.w, input, grid(4, true, 0), {.act_order = true}, pool).group_of_input.empty());
}

TEST(GptqProperties, DeadInputsHaveNoWeight) {
  ThreadPool pool(1);
  Problem p = make_problem(128, 2, 150);
  p.w[17] = 100;  // would set the group's scale
  const IntegerGrid g = grid(4, false, 128);
  const CanonicalWeight q = gptq(p.w, statistics(p, pool), g, {}, pool);
  EXPECT_EQ(q.codes[17], g.middle());
  EXPECT_LT(q.scales[0], 0.2f);
}

TEST(GptqProperties, SameBitsForAnyNumberOfThreads) {
  ThreadPool one(1), three(3);
  const Problem p = make_problem(256, 37, 150);
  const GptqOptions options{.act_order = true};
  const CanonicalWeight a = gptq(p.w, statistics(p, one), grid(4, true, 128), options, one);
  const CanonicalWeight b = gptq(p.w, statistics(p, three), grid(4, true, 128), options, three);
  EXPECT_EQ(a.codes, b.codes);
  EXPECT_EQ(a.scales, b.scales);
  EXPECT_EQ(a.group_of_input, b.group_of_input);
}

TEST(GptqProperties, ASingularHessianIsRefused) {
  ThreadPool pool(1);
  const Problem p = make_problem(128, 1, 40);
  try {
    gptq(p.w, statistics(p, pool), grid(4, true, 128), {.damping = 0}, pool);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Errc::kBadArgument);
    EXPECT_STREQ(e.what(),
                 "gptq: the Hessian of 128 inputs over 40 tokens is not positive definite with a damping of 0; wanted "
                 "more of either");
  }
}

// Against numpy: the paper's algorithm by the inverse's Cholesky factor. The script that made the file refuses near
// ties, so that everything is equal.
TEST(GptqGolden, AgreesWithNumpy) {
  const char* root = std::getenv("TRIMETER_SOURCE_DIR");
  ASSERT_NE(root, nullptr) << "run by ctest, or set TRIMETER_SOURCE_DIR";
  std::ifstream file(std::string(root) + "/tests/golden/gptq/small.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  ThreadPool pool(2);
  const Problem p = make_problem(golden["in"], golden["out"], golden["tokens"]);
  const InputStatistics input = statistics(p, pool);
  ASSERT_EQ(golden["cases"].size(), 4u);
  for (const nlohmann::json& c : golden["cases"]) {
    SCOPED_TRACE(c["name"].get<std::string>());
    const IntegerGrid g = grid(c["bits"], c["zero_points"], c["group"]);
    const GptqOptions options{.act_order = c.value("act_order", false),
                              .static_groups = c.value("static_groups", false),
                              .search_range = c.value("search_range", false)};
    const CanonicalWeight q = gptq(p.w, input, g, options, pool);
    const int64_t n_groups = std::ssize(q.scales) / p.out;
    for (int64_t row = 0; row < p.out; ++row) {
      std::string codes;
      for (int64_t i = 0; i < p.in; ++i) {
        codes += "0123456789abcdef"[q.codes[row * p.in + i] / 16];
        codes += "0123456789abcdef"[q.codes[row * p.in + i] % 16];
      }
      EXPECT_EQ(codes, c["codes"][row].get<std::string>()) << row;
      for (int64_t k = 0; k < n_groups; ++k) {
        EXPECT_EQ(q.scales[row * n_groups + k], c["scales"][row][k].get<float>());
        EXPECT_EQ(g.zero_points ? q.zeros[row * n_groups + k] : g.middle(), c["zeros"][row][k].get<int>());
      }
    }
    for (int64_t i = 0; i < p.in; ++i) ASSERT_EQ(group_of(q, g.group_size, i), c["group_of_input"][i].get<int64_t>());
  }
}

}  // namespace
}  // namespace trimeter
