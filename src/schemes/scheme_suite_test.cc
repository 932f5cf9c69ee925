// What every scheme promises, on every ISA that this CPU runs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "schemes/scheme.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr int64_t kMaxTokens = 65;
constexpr double kUnit = 0x1p-24;  // half an ulp of a float, relative

std::vector<float> random_floats(int64_t n, uint32_t seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(n);
  for (float& value : values) value = normal(generator);
  return values;
}

// Integers on both sides, in blocks with scales and minimums of their own.
bool is_ggml(const SchemeInfo& info) { return info.activation == DType::kI8 && info.activation_group > 0; }

// As ggml quantizes activations (schemes/ggml/ggml_scheme.h).
std::vector<double> reference_blocks(int64_t group, const std::vector<float>& x) {
  std::vector<double> values(x.size());
  for (size_t begin = 0; begin < x.size(); begin += group) {
    float amax = 0;
    for (int64_t k = 0; k < group; ++k) amax = std::max(amax, std::fabs(x[begin + k]));
    const float inverse = 127 / amax;
    const float scale = group == 32 ? f16_to_float(f16_from_float(amax / 127)) : 1 / inverse;
    for (size_t i = begin; i < begin + group; ++i) values[i] = double{std::nearbyint(x[i] * inverse)} * scale;
  }
  return values;
}

// The largest size of a weight in each block of `group` of a row.
std::vector<double> block_sizes(const std::vector<float>& w, int64_t group) {
  std::vector<double> sizes(w.size() / group);
  for (size_t i = 0; i < w.size(); ++i) sizes[i / group] = std::max(sizes[i / group], double{std::fabs(w[i])});
  return sizes;
}

// Small enough that inputs of standard deviation 1 saturate, of e4m3 and of int8.
float static_scale(DType activation) { return activation == DType::kI8 ? 0.017f : 0.0061f; }

// Inputs that share a scale, as the multiply sees them, by the scalar formulas.
void quantize_inputs(const SchemeInfo& info, std::span<const float> x, double* values) {
  float amax = 0;
  for (const float value : x) amax = std::max(amax, std::fabs(value));
  const bool is_int8 = info.activation == DType::kI8;
  const float least = info.activation_group > 0 ? 1e-10f / kE4M3Max : 1 / (kE4M3Max * 512);
  float scale = is_int8 ? amax / 127 : std::max(amax / kE4M3Max, least);
  if (info.static_input) scale = static_scale(info.activation);
  for (size_t i = 0; i < x.size(); ++i)
    if (is_int8) {
      const float code = info.static_input ? x[i] / scale : x[i] * (amax > 0 ? 127 / amax : 0);
      values[i] = std::clamp(std::nearbyint(double{code}), -128.0, 127.0) * scale;
    } else {
      const float code = info.static_input ? x[i] * (1 / scale) : x[i] / scale;
      values[i] = double{e4m3_to_float(e4m3_from_float(code))} * scale;
    }
}

// The input as the multiply sees it, by the scalar formulas.
std::vector<double> reference_input(const SchemeInfo& info, const std::vector<float>& x, int64_t in) {
  std::vector<double> values(x.size());
  const DType activation = info.activation;
  if (is_ggml(info)) return reference_blocks(info.activation_group, x);
  if (activation == DType::kF8E4M3 || activation == DType::kI8) {
    const int64_t n = info.activation_group > 0 ? info.activation_group : in;
    for (size_t i = 0; i < x.size(); i += n) quantize_inputs(info, std::span(x).subspan(i, n), &values[i]);
    return values;
  }
  for (size_t i = 0; i < x.size(); ++i)
    values[i] = activation == DType::kBF16  ? bf16_to_float(bf16_from_float(x[i]))
                : activation == DType::kF16 ? f16_to_float(f16_from_float(x[i]))
                                            : x[i];
  return values;
}

struct Problem {
  MatShape shape;
  CanonicalWeight canonical;
  PackedWeight packed;
  std::vector<float> dense, x, w;  // w: dense as the scheme rounds it
};

Problem make_problem(const Scheme& scheme, MatShape shape, ThreadPool& pool) {
  Problem p{.shape = shape, .canonical = {}, .packed = {}, .dense = {}, .x = {}, .w = {}};
  p.dense = random_floats(shape.out * shape.in, 1, 0.05f);
  p.x = random_floats(kMaxTokens * shape.in, 2);
  const DenseRows part{reinterpret_cast<const std::byte*>(p.dense.data()), DType::kF32, shape.out};
  p.canonical = scheme.quantize_rtn({&part, 1}, shape);
  if (scheme.info().static_input) p.canonical.input_scale = static_scale(scheme.info().activation);
  std::shuffle(p.canonical.group_of_input.begin(), p.canonical.group_of_input.end(), std::mt19937(7));
  p.w = scheme.dequantize(p.canonical);
  p.packed = scheme.pack(p.canonical, pool);
  return p;
}

// Scratch for a prepared input of n tokens.
struct Prepared {
  Arena arena;
  PreparedInput input;
  Prepared(const Scheme& scheme, const PackedWeight& weight, const float* x, int64_t n_tokens, Isa isa)
      : arena(scheme.prepared_bytes(n_tokens, weight.shape.in, isa)),
        input(scheme.take_prepared(arena, n_tokens, weight.shape.in, isa)) {
    EXPECT_EQ(arena.used_bytes(), scheme.prepared_bytes(n_tokens, weight.shape.in, isa));
    scheme.prepare(weight, x, 0, n_tokens, input, isa);
  }
};

std::vector<float> multiply(const Scheme& scheme, const Problem& p, int64_t n_tokens, Isa isa) {
  Prepared prepared(scheme, p.packed, p.x.data(), n_tokens, isa);
  std::vector<float> y(n_tokens * p.shape.out);
  scheme.multiply(p.packed, prepared.input, 0, p.shape.out, nullptr, false, y.data(), p.shape.out, isa);
  return y;
}

// `in`, or the next width that the scheme holds.
int64_t width(const Scheme& scheme, int64_t in) {
  return scheme.info().group_size > 0 ? round_up(in, scheme.info().group_size) : in;
}

std::vector<MatShape> test_shapes(const Scheme& scheme) {
  std::vector<MatShape> shapes;
  for (const MatShape shape : {MatShape{16, 64},
                               {48, 130},
                               {64, 128},
                               {80, 256},
                               {200, 384},
                               {131, 1},
                               {70, 63},
                               {33, 96},
                               {1, 640},
                               {67, 768}})
    if (scheme.refuses(shape).empty()) shapes.push_back(shape);
  return shapes;
}

class SchemeSuite : public testing::TestWithParam<const Scheme*> {
 protected:
  const Scheme& scheme = *GetParam();
  ThreadPool pool{2};
};

TEST_P(SchemeSuite, LedgerIsWhatPackTakes) {
  for (const MatShape shape : test_shapes(scheme)) {
    const Problem p = make_problem(scheme, shape, pool);
    EXPECT_EQ(p.packed.bytes().values, scheme.bytes(shape).values);
    EXPECT_EQ(p.packed.bytes().scales, scheme.bytes(shape).scales);
  }
  const MatShape whole{128, 512};
  EXPECT_EQ(static_cast<double>(scheme.bytes(whole).values) * 8, 128 * 512 * scheme.info().bits_per_weight);
}

TEST_P(SchemeSuite, UnpackGivesBackWhatWasPacked) {
  for (const MatShape shape : test_shapes(scheme)) {
    const Problem p = make_problem(scheme, shape, pool);
    std::vector<float> row(shape.in);
    for (int64_t i = 0; i < shape.out; ++i) {
      scheme.unpack_row(p.packed, i, row.data());
      for (int64_t k = 0; k < shape.in; ++k)
        ASSERT_EQ(row[k], p.w[i * shape.in + k]) << shape.out << " x " << shape.in << " at " << i << ", " << k;
    }
  }
}

// Where a weight's scale and zero point are, in schemes on an integer grid.
int64_t group_index(const Scheme& scheme, const CanonicalWeight& weight, int64_t row, int64_t k) {
  const int64_t group_size = scheme.info().grid->group_size;
  if (group_size == 0) return row;
  const int64_t group = weight.group_of_input.empty() ? k / group_size : weight.group_of_input[k];
  return row * (weight.shape.in / group_size) + group;
}

// ggml's K types search each sub-block's scale and minimum among candidates taken from its range, then round those to
// 4, 6 or 8 bits: where the codes do not span their range none of the candidates is the scale that made the values, so
// that a second pass is no fixpoint (on a normal sample Q3_K changes one value in ten, Q5_K one in a hundred). It stays
// within what a pass may do: each value within half a step, of at most the block's range over its codes, and as much
// again for rounding scales and minimums. In all it changes less than the first.
void expect_second_pass_within_a_step(const Scheme& scheme, const Problem& p, const std::vector<float>& again) {
  const auto group = static_cast<size_t>(scheme.info().group_size);
  const double n_steps = std::exp2(std::floor(scheme.info().bits_per_weight)) - 1;
  const std::vector<double> sizes = block_sizes(p.w, scheme.info().group_size);
  double first = 0, second = 0;
  for (size_t block = 0; block < sizes.size(); ++block) {
    double change = 0;
    for (size_t i = block * group; i < (block + 1) * group; ++i) {
      change += std::pow(double{again[i]} - p.w[i], 2);
      first += std::pow(double{p.w[i]} - p.dense[i], 2);
    }
    second += change;
    ASSERT_LE(std::sqrt(change / static_cast<double>(group)), 2 * sizes[block] / n_steps) << "block " << block;
  }
  EXPECT_LT(second, first);
}

TEST_P(SchemeSuite, QuantizingWhatWasDequantizedGivesTheSameCodes) {
  for (const MatShape shape : test_shapes(scheme)) {
    const Problem p = make_problem(scheme, shape, pool);
    if (const IntegerGrid* grid = scheme.info().grid) {  // on the grid that it has: the values' range may be narrower
      for (int64_t i = 0; i < shape.out * shape.in; ++i) {
        const int64_t g = group_index(scheme, p.canonical, i / shape.in, i % shape.in);
        const auto zero = grid->zero_points ? p.canonical.zeros[g] : static_cast<uint8_t>(grid->middle());
        ASSERT_EQ(grid->code(p.w[i], {p.canonical.scales[g], zero}), p.canonical.codes[i]) << i;
      }
    } else {
      const DenseRows part{reinterpret_cast<const std::byte*>(p.w.data()), DType::kF32, shape.out};
      const CanonicalWeight again = scheme.quantize_rtn({&part, 1}, shape);
      if (is_ggml(scheme.info()) && scheme.info().group_size == 256) {
        expect_second_pass_within_a_step(scheme, p, scheme.dequantize(again));
        continue;
      }
      ASSERT_EQ(again.codes, p.canonical.codes);
      if (again.codes.empty()) {
        ASSERT_EQ(scheme.dequantize(again), p.w);
      }
    }
  }
}

// A chain over k rounds each addition once and, where it isn't fused, each product: (k + 1) units of sum |x w|; scales
// of tokens, tensor and groups round a few times more. With zero points the chain runs over q - 8 and the sum of x,
// whose terms are at most 16 scales in size. With ggml's blocks it runs over unsigned codes, their offset and the
// minimums: each term is at most 4 times its block's largest weight, as codes span at most twice that. vdpbf16ps
// flushes what is below 2^-126.
TEST_P(SchemeSuite, MultiplyIsWithinTheBoundOfADoubleSum) {
  for (const MatShape shape : test_shapes(scheme)) {
    const Problem p = make_problem(scheme, shape, pool);
    const std::vector<double> x = reference_input(scheme.info(), p.x, shape.in);
    std::vector<double> blocks;
    if (is_ggml(scheme.info())) blocks = block_sizes(p.w, scheme.info().group_size);
    std::vector<double> want(kMaxTokens * shape.out), bound(want.size());
    for (int64_t t = 0; t < kMaxTokens; ++t)
      for (int64_t i = 0; i < shape.out; ++i) {
        double sum = 0, size = 0;
        for (int64_t k = 0; k < shape.in; ++k) {
          const double w = p.w[i * shape.in + k], xk = x[t * shape.in + k];
          sum += w * xk;
          double term = std::fabs(w);
          if (!p.canonical.zeros.empty()) term = 16 * p.canonical.scales[group_index(scheme, p.canonical, i, k)];
          if (is_ggml(scheme.info())) term = 4 * blocks[(i * shape.in + k) / scheme.info().group_size];
          size += std::fabs(xk) * term;
        }
        want[t * shape.out + i] = sum;
        bound[t * shape.out + i] = static_cast<double>(shape.in + 8) * (kUnit * size + 0x1p-125);
      }
    for (const Isa isa : runnable_isas()) {
      const std::vector<float> y = multiply(scheme, p, kMaxTokens, isa);
      for (size_t i = 0; i < y.size(); ++i)
        ASSERT_NEAR(y[i], want[i], bound[i]) << name(isa) << " " << shape.out << " x " << shape.in << " at " << i;
    }
  }
}

TEST_P(SchemeSuite, AnOutputHasTheSameBitsInEveryBatchAndRange) {
  for (const MatShape shape : test_shapes(scheme)) {
    const Problem p = make_problem(scheme, shape, pool);
    for (const Isa isa : runnable_isas()) {
      const std::vector<float> all = multiply(scheme, p, kMaxTokens, isa);
      for (const int64_t n_tokens : {1, 2, 3, 5, 6, 7, 8, 10, 11, 13, 16, 17, 33}) {
        const std::vector<float> some = multiply(scheme, p, n_tokens, isa);
        ASSERT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << name(isa) << " batch of " << n_tokens;
      }
      for (int64_t t = 0; t < kMaxTokens; ++t) {
        Prepared one(scheme, p.packed, &p.x[t * shape.in], 1, isa);
        std::vector<float> y(shape.out);
        for (int64_t row = 0; row < shape.out; row += kPanelRows)
          scheme.multiply(p.packed, one.input, row, std::min(shape.out, row + kPanelRows), nullptr, false, y.data(),
                          shape.out, isa);
        ASSERT_TRUE(std::equal(y.begin(), y.end(), &all[t * shape.out])) << name(isa) << " token " << t;
      }
    }
  }
}

TEST_P(SchemeSuite, BiasAndResidualAreAddedAndNothingElseIsWritten) {
  const MatShape shape{200, width(scheme, 384)};
  const Problem p = make_problem(scheme, shape, pool);
  const std::vector<float> bias = random_floats(shape.out, 3);
  const int64_t n_tokens = 5, ldy = shape.out + 3, row_begin = 64, row_end = 187;
  for (const Isa isa : runnable_isas()) {
    const std::vector<float> plain = multiply(scheme, p, n_tokens, isa);
    const std::vector<float> before = random_floats(n_tokens * ldy, 4);
    Prepared prepared(scheme, p.packed, p.x.data(), n_tokens, isa);
    for (const bool accumulate : {false, true}) {
      std::vector<float> y = before;
      scheme.multiply(p.packed, prepared.input, row_begin, row_end, bias.data(), accumulate, y.data(), ldy, isa);
      for (int64_t t = 0; t < n_tokens; ++t)
        for (int64_t i = 0; i < ldy; ++i) {
          const float old = before[t * ldy + i];
          float want = old;
          if (i >= row_begin && i < row_end) want = (plain[t * shape.out + i] + bias[i]) + (accumulate ? old : 0.0f);
          ASSERT_EQ(y[t * ldy + i], want) << name(isa) << " token " << t << " row " << i;
        }
    }
  }
}

TEST_P(SchemeSuite, ZeroInputGivesZero) {
  const MatShape shape{16, width(scheme, 128)};
  Problem p = make_problem(scheme, shape, pool);
  std::fill(p.x.begin(), p.x.end(), 0.0f);
  for (const Isa isa : runnable_isas())
    for (const float y : multiply(scheme, p, 3, isa)) ASSERT_EQ(y, 0.0f) << name(isa);
}

TEST_P(SchemeSuite, StackedPartsInAnyDtypeAndAlignmentAreOneMatrix) {
  const MatShape shape{37, width(scheme, 128)};
  const std::vector<float> dense = random_floats(shape.out * shape.in, 5);
  std::vector<std::byte> file(1);  // everything after it is unaligned
  std::vector<float> rounded(dense);
  const int64_t split = 20;
  for (int64_t i = 0; i < shape.out * shape.in; ++i) {
    const bool first = i < split * shape.in;
    const uint16_t code = first ? bf16_from_float(dense[i]) : f16_from_float(dense[i]);
    rounded[i] = first ? bf16_to_float(code) : f16_to_float(code);
    file.push_back(static_cast<std::byte>(code & 0xff));
    file.push_back(static_cast<std::byte>(code >> 8));
  }
  const DenseRows parts[] = {{&file[1], DType::kBF16, split},
                             {&file[1 + 2 * split * shape.in], DType::kF16, shape.out - split}};
  const DenseRows whole{reinterpret_cast<const std::byte*>(rounded.data()), DType::kF32, shape.out};
  EXPECT_EQ(scheme.dequantize(scheme.quantize_rtn(parts, shape)),
            scheme.dequantize(scheme.quantize_rtn({&whole, 1}, shape)));
  EXPECT_THROW(scheme.quantize_rtn({parts, 1}, shape), Error);
  const DenseRows bad{whole.data, DType::kI32, shape.out};
  EXPECT_THROW(scheme.quantize_rtn({&bad, 1}, shape), Error);
}

TEST_P(SchemeSuite, RefusesAnEmptyShape) {
  EXPECT_NE(scheme.refuses({0, 128}), "");
  EXPECT_NE(scheme.refuses({16, 0}), "");
  EXPECT_EQ(scheme.refuses({16, width(scheme, 128)}), "");
  EXPECT_THROW(scheme.quantize_rtn({}, {0, 128}), Error);
}

TEST_P(SchemeSuite, PlanSaysWhatRunsAndWhyItDiffers) {
  for (const Isa isa : kAllIsas) {
    const KernelPlan plan = scheme.plan(isa);
    EXPECT_EQ(plan.kernel, fmt::format("{}.{}", scheme.info().name, name(isa)));
    EXPECT_EQ(plan.requested, scheme.info().requested);
    EXPECT_EQ(plan.reason.empty(), plan.requested == plan.executed);
  }
}

INSTANTIATE_TEST_SUITE_P(All, SchemeSuite, testing::ValuesIn(all_schemes().begin(), all_schemes().end()),
                         [](const auto& test) { return std::string(test.param->info().name); });

TEST(Registry, FindsByNameAndNamesWhatThereIs) {
  for (const Scheme* s : all_schemes()) EXPECT_EQ(&scheme(s->info().name), s);
  try {
    scheme("int3");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("'int3'"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("bf16"), std::string::npos);
  }
}

}  // namespace
}  // namespace trimeter
