#include "algorithms/output_probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace trimeter {
namespace {

constexpr int64_t kIn = 256, kOut = 70, kTokens = 21;

struct Problem {
  std::vector<float> w = std::vector<float>(kOut * kIn), x = std::vector<float>(kTokens * kIn);
  Problem() {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (float& v : w) v = normal(random);
    for (float& v : x) v = normal(random);
  }
  CanonicalWeight quantize(const Scheme& scheme) const {
    const DenseRows rows{reinterpret_cast<const std::byte*>(w.data()), DType::kF32, kOut};
    return scheme.quantize_rtn({&rows, 1}, {kOut, kIn});
  }
};

// Weight-only: activations are rounded to bf16, by 2^-9 at most, beside the four bits' error of some 0.1; 8 % of it, as
// it is squared and both signs occur.
TEST(OutputProbe, IsTheErrorOfTheWeightsIfActivationsAreNearlyExact) {
  const Problem p;
  ThreadPool pool(2);
  const Scheme& int4 = scheme("int4_g128_zp");
  const CanonicalWeight codes = p.quantize(int4);
  const std::vector<float> back = int4.dequantize(codes);
  double difference = 0, norm = 0;
  for (int64_t t = 0; t < kTokens; ++t)
    for (int64_t row = 0; row < kOut; ++row) {
      double y = 0, d = 0;
      for (int64_t i = 0; i < kIn; ++i) {
        const double x = p.x[t * kIn + i], w = p.w[row * kIn + i];
        y += x * w;
        d += x * (static_cast<double>(back[row * kIn + i]) - w);
      }
      norm += y * y;
      difference += d * d;
    }
  const OutputProbe probe(p.w, p.x, kIn, pool);
  const double got = probe.relative_error(int4, codes, p.x, pool), want = difference / norm;
  EXPECT_NEAR(got, want, 0.08 * want);
  EXPECT_GT(want, 1e-3);
}

// fp8 rounds the activations as well: with half the error in them, the probe sees more than the weights' part. e4m3 has
// steps of 2^-3 to 2^-4 of the value, so both parts are near (2^-3.5)^2 / 12.
TEST(OutputProbe, CountsTheActivationsRounding) {
  const Problem p;
  ThreadPool pool(2);
  const Scheme& fp8 = scheme("fp8_e4m3");
  const CanonicalWeight codes = p.quantize(fp8);
  const std::vector<float> back = fp8.dequantize(codes);
  double weights = 0, norm = 0;
  for (size_t i = 0; i < back.size(); ++i) {
    weights += std::pow(static_cast<double>(back[i]) - p.w[i], 2);
    norm += std::pow(p.w[i], 2);
  }
  const double got = OutputProbe(p.w, p.x, kIn, pool).relative_error(fp8, codes, p.x, pool);
  EXPECT_GT(got, 1.5 * weights / norm);
  EXPECT_LT(got, 2.5 * weights / norm);
}

TEST(OutputProbe, ScaledAgainstEachOtherIsTheSame) {
  Problem p;
  ThreadPool pool(1);
  const OutputProbe probe(p.w, p.x, kIn, pool);
  const CanonicalWeight before = p.quantize(scheme("fp32"));
  EXPECT_EQ(probe.relative_error(scheme("fp32"), before, p.x, pool), 0);
  for (int64_t row = 0; row < kOut; ++row) p.w[row * kIn + 3] *= 8;
  EXPECT_GT(probe.relative_error(scheme("fp32"), before, p.x, pool), 0.01);
  for (int64_t t = 0; t < kTokens; ++t) p.x[t * kIn + 3] /= 8;
  EXPECT_EQ(probe.relative_error(scheme("fp32"), before, p.x, pool), 0);
}

}  // namespace
}  // namespace trimeter
