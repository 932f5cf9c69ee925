// Blocks of any bytes, as a file may hold them: what no quantizer would choose.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "base/error.h"
#include "schemes/ggml/ggml_scheme.h"
#include "schemes/kernel_test.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

struct Case {
  GgmlType type;
  int d, m;  // where they lie in a block; -1: no m
};
constexpr Case kCases[] = {{GgmlType::kQ8_0, 0, -1},   {GgmlType::kQ4_0, 0, -1}, {GgmlType::kQ4_1, 0, 2},
                           {GgmlType::kQ5_0, 0, -1},   {GgmlType::kQ5_1, 0, 2},  {GgmlType::kQ2_K, 80, 82},
                           {GgmlType::kQ3_K, 108, -1}, {GgmlType::kQ4_K, 0, 2},  {GgmlType::kQ5_K, 0, 2},
                           {GgmlType::kQ6_K, 208, -1}};
constexpr int64_t kRows = 21, kBlocks = 3;

class GgmlKernel : public testing::TestWithParam<Case> {
 protected:
  const Scheme& scheme = *scheme_of(GetParam().type);
  const GgmlTypeInfo& block = info(GetParam().type);
  const int64_t in = kBlocks * block.block_elements;
  ThreadPool pool{2};

  // Rows of one byte each, the extremes among them, then rows of random ones. d and m are random, and exact.
  CanonicalWeight weight() const {
    std::mt19937 random(11);
    CanonicalWeight weight;
    weight.shape = {kRows, in};
    for (int64_t row = 0; row < kRows; ++row) {
      constexpr uint8_t kBytes[] = {0xff, 0x00, 0x80, 0x7f, 0x81, 0xf0, 0x0f, 0xaa};
      for (int64_t i = 0; i < kBlocks * block.block_bytes; ++i)
        weight.codes.push_back(row < std::ssize(kBytes) ? kBytes[row] : static_cast<uint8_t>(random()));
      for (int64_t b = 0; b < kBlocks; ++b) {
        put_f16(weight, row, b, GetParam().d, 0.01f * static_cast<float>(random() % 200) - 1);
        if (GetParam().m >= 0) put_f16(weight, row, b, GetParam().m, 0.01f * static_cast<float>(random() % 200) - 1);
      }
    }
    return weight;
  }
  void put_f16(CanonicalWeight& weight, int64_t row, int64_t b, int offset, float value) const {
    uint8_t* p = &weight.codes[(row * kBlocks + b) * block.block_bytes + offset];
    const uint16_t half = f16_from_float(value);
    p[0] = static_cast<uint8_t>(half & 255);
    p[1] = static_cast<uint8_t>(half >> 8);
  }
};

TEST_P(GgmlKernel, AnyBlocksComeBackFromThePanelsBitForBit) {
  const CanonicalWeight blocks = weight();
  const PackedWeight packed = scheme.pack(blocks, pool);
  const std::vector<float> want = scheme.dequantize(blocks);
  std::vector<float> row(in);
  for (int64_t i = 0; i < kRows; ++i) {
    scheme.unpack_row(packed, i, row.data());
    for (int64_t k = 0; k < in; ++k)
      ASSERT_EQ(bits_from_float(row[k]), bits_from_float(want[i * in + k])) << "row " << i << ", " << k;
  }
}

// The largest products there are, of one sign and of changing ones: sums of 16 bits would overflow where a kernel adds
// up too many. Inputs are 127 steps of 0.5, which quantizing them leaves exact; the bound is the scheme suite's.
TEST_P(GgmlKernel, TheLargestProductsAreSummedOnEveryIsa) {
  const CanonicalWeight blocks = weight();
  const PackedWeight packed = scheme.pack(blocks, pool);
  const std::vector<float> w = scheme.dequantize(blocks);
  std::mt19937 random(12);
  const std::function<float(int64_t)> signs[] = {[](int64_t) { return 1.0f; }, [](int64_t) { return -1.0f; },
                                                 [](int64_t k) { return k % 2 == 0 ? 1.0f : -1.0f; },
                                                 [&](int64_t) { return random() % 2 == 0 ? 1.0f : -1.0f; }};
  std::vector<float> x;
  for (const auto& sign : signs)
    for (int64_t k = 0; k < in; ++k) x.push_back(sign(k) * 127 * 0.5f);
  const int64_t n_tokens = std::ssize(signs);
  for (const Isa isa : runnable_isas()) {
    const std::vector<float> y = multiply_all(scheme, packed, x, n_tokens, isa);
    for (int64_t t = 0; t < n_tokens; ++t)
      for (int64_t i = 0; i < kRows; ++i) {
        double want = 0, size = 0;
        for (int64_t begin = 0; begin < in; begin += block.block_elements) {
          double largest = 0;
          for (int64_t k = begin; k < begin + block.block_elements; ++k) {
            want += double{w[i * in + k]} * x[t * in + k];
            largest = std::max(largest, double{std::fabs(w[i * in + k])});
          }
          size += 4 * largest * 63.5 * static_cast<double>(block.block_elements);
        }
        ASSERT_NEAR(y[t * kRows + i], want, static_cast<double>(in + 8) * 0x1p-24 * size)
            << name(isa) << " token " << t << " row " << i;
      }
  }
}

TEST_P(GgmlKernel, BlocksThatAreNotFiniteAreRefused) {
  for (const int offset : {GetParam().d, GetParam().m}) {
    if (offset < 0) continue;
    CanonicalWeight blocks = weight();
    put_f16(blocks, 17, 1, offset, INFINITY);
    try {
      scheme.pack(blocks, pool);
      FAIL() << offset;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadFile);
      EXPECT_NE(std::string(error.what()).find("weight row 17"), std::string::npos) << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, GgmlKernel, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(name(test.param.type)); });

}  // namespace
}  // namespace trimeter
