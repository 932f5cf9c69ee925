#include "schemes/stacked_scheme.h"

#include <gtest/gtest.h>

#include <random>

#include "base/error.h"
#include "schemes/kernel_test.h"

namespace trimeter {
namespace {

std::vector<float> random_floats(int64_t n, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = normal(generator);
  return values;
}

DenseRows rows_of(const std::vector<float>& values, int64_t first, int64_t n, int64_t in) {
  return {reinterpret_cast<const std::byte*>(values.data() + first * in), DType::kF32, n};
}

const Scheme& mixed() {
  const StackedPart parts[] = {{&scheme("ggml_q4_k"), 64}, {&scheme("ggml_q4_k"), 64}, {&scheme("ggml_q6_k"), 37}};
  return stacked_scheme(parts);
}

TEST(StackedScheme, IsFoundByItsNameAndJoinsEqualNeighbours) {
  EXPECT_EQ(mixed().info().name, "ggml_q4_k*128+ggml_q6_k*37");
  EXPECT_EQ(&scheme("ggml_q4_k*128+ggml_q6_k*37"), &mixed());
  EXPECT_EQ(scheme("ggml_q5_k*64+ggml_q6_k*1").info().name, "ggml_q5_k*64+ggml_q6_k*1");  // of another process
  for (const char* none : {"ggml_q5_k*64", "ggml_q5_k*64+", "ggml_q5_k*64+ggml_q9*1", "ggml_q5_k*64+ggml_q6_k*x",
                           "ggml_q5_k*64+ggml_q5_k*64", "ggml_q5_k*64+ggml_q6_k*-1"})
    EXPECT_THROW(scheme(none), Error) << none;
  const StackedPart same[] = {{&scheme("bf16"), 10}, {&scheme("bf16"), 7}};
  EXPECT_EQ(&stacked_scheme(same), &scheme("bf16"));
  const StackedPart uneven[] = {{&scheme("bf16"), 10}, {&scheme("fp16"), 7}};
  EXPECT_THROW(stacked_scheme(uneven), Error);
}

// What a stack gives is what its parts give, to the bit: for a whole matrix, a range of rows, with bias and residual,
// and where other schemes come between two parts of one.
TEST(StackedScheme, MultipliesAsItsParts) {
  const int64_t in = 256, n_tokens = 3;
  const StackedPart table[][3] = {{{&scheme("ggml_q4_k"), 64}, {&scheme("ggml_q6_k"), 64}, {&scheme("ggml_q4_k"), 37}},
                                  {{&scheme("ggml_q8_0"), 128}, {&scheme("fp16"), 64}, {&scheme("bf16"), 5}}};
  ThreadPool pool(2);
  for (const auto& parts : table) {
    const Scheme& stack = stacked_scheme(parts);
    int64_t out = 0;
    for (const StackedPart& part : parts) out += part.n_rows;
    const std::vector<float> dense = random_floats(out * in, 1), x = random_floats(n_tokens * in, 2);
    const std::vector<float> bias = random_floats(out, 3), before = random_floats(n_tokens * out, 4);
    const DenseRows whole = rows_of(dense, 0, out, in);
    const CanonicalWeight canonical = stack.quantize_rtn({&whole, 1}, {out, in});
    const PackedWeight packed = stack.pack(canonical, pool);
    EXPECT_EQ(packed.bytes().total(), stack.bytes({out, in}).total());
    const std::vector<float> values = stack.dequantize(canonical);
    std::vector<float> row(in);
    for (const Isa isa : runnable_isas()) {
      Arena arena(stack.prepared_bytes(n_tokens, in, isa));
      const PreparedInput input = stack.take_prepared(arena, n_tokens, in, isa);
      EXPECT_EQ(arena.used_bytes(), stack.prepared_bytes(n_tokens, in, isa));
      stack.prepare(packed, x.data(), 0, n_tokens, input, isa);
      std::vector<float> y = before;
      for (int64_t begin = 0; begin < out; begin += kPanelRows)
        stack.multiply(packed, input, begin, std::min(out, begin + kPanelRows), bias.data(), true, y.data(), out, isa);
      int64_t first = 0;
      for (const StackedPart& part : parts) {
        const DenseRows rows = rows_of(dense, first, part.n_rows, in);
        const PackedWeight alone = part.scheme->pack(part.scheme->quantize_rtn({&rows, 1}, {part.n_rows, in}), pool);
        const std::vector<float> want = multiply_all(*part.scheme, alone, x, n_tokens, isa);
        for (int64_t i = 0; i < part.n_rows; ++i) {
          for (int64_t t = 0; t < n_tokens; ++t)
            ASSERT_EQ(y[t * out + first + i],
                      (want[t * part.n_rows + i] + bias[first + i]) + before[t * out + first + i])
                << stack.info().name << " " << name(isa) << " row " << first + i;
          stack.unpack_row(packed, first + i, row.data());
          ASSERT_TRUE(std::equal(row.begin(), row.end(), &values[(first + i) * in]));
        }
        first += part.n_rows;
      }
    }
  }
}

TEST(StackedScheme, OtherNumbersOfRowsAreCutInProportion) {
  ThreadPool pool(1);
  for (const int64_t out : {64, 256}) {
    const std::vector<float> dense = random_floats(out * 256, 1);
    const DenseRows whole = rows_of(dense, 0, out, 256);
    ASSERT_EQ(mixed().refuses({out, 256}), "");
    const PackedWeight packed = mixed().pack(mixed().quantize_rtn({&whole, 1}, {out, 256}), pool);
    EXPECT_EQ(packed.bytes().total(), mixed().bytes({out, 256}).total());
    const std::vector<float> y = multiply_all(mixed(), packed, random_floats(256, 2), 1, Isa::kScalar);
    EXPECT_EQ(y.size(), static_cast<size_t>(out));
  }
}

TEST(StackedScheme, RefusesWhatAPartRefuses) {
  EXPECT_NE(mixed().refuses({165, 128}).find("not a multiple of the block of 256"), std::string::npos);
}

}  // namespace
}  // namespace trimeter
