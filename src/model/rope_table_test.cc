#include "model/rope_table.h"

#include <gtest/gtest.h>

#include <cmath>

namespace trimeter {
namespace {

ModelSpec spec_with(RopeScaling scaling) {
  ModelSpec spec;
  spec.head_dim = 8;
  spec.rope_theta = 10000;
  spec.rope_scaling = scaling;
  return spec;
}

TEST(RopeTable, DefaultFrequenciesAreThetasPowers) {
  const std::vector<float> f = rope_inverse_frequencies(spec_with({}));
  ASSERT_EQ(f.size(), 4u);
  EXPECT_EQ(f[0], 1.0f);
  EXPECT_EQ(f[1], 0.1f);
  EXPECT_EQ(f[2], 0.01f);
  EXPECT_EQ(f[3], 0.001f);
}

TEST(RopeTable, LinearDividesAll) {
  const std::vector<float> f = rope_inverse_frequencies(spec_with({.type = "linear", .factor = 4}));
  EXPECT_EQ(f[0], 0.25f);
  EXPECT_EQ(f[3], 0.00025f);
}

// Wavelengths 6.28, 62.8, 628, 6283 against original_max 1000: 159, 15.9, 1.59 and 0.159 turns.
TEST(RopeTable, Llama3KeepsShortWavesDividesLongOnesAndBlendsBetween) {
  RopeScaling scaling{.type = "llama3", .factor = 8, .low_freq_factor = 1, .high_freq_factor = 4};
  scaling.original_max_position_embeddings = 1000;
  const std::vector<float> f = rope_inverse_frequencies(spec_with(scaling));
  EXPECT_EQ(f[0], 1.0f);
  EXPECT_EQ(f[1], 0.1f);
  const double keep = (1000 / 628.3185307179587 - 1) / 3;
  EXPECT_FLOAT_EQ(f[2], static_cast<float>((1 - keep) * 0.01 / 8 + keep * 0.01));
  EXPECT_EQ(f[3], 0.000125f);
}

TEST(RopeTable, HoldsCosAndSinOfTheFloatAngle) {
  const RopeTable table(spec_with({}), 100);
  EXPECT_EQ(table.bytes(), 2 * 100 * 4 * 4);
  for (const int64_t position : {0, 1, 99})
    for (int i = 0; i < 4; ++i) {
      const float angle =
          static_cast<float>(position) * rope_inverse_frequencies(spec_with({}))[static_cast<size_t>(i)];
      EXPECT_EQ(table.cos(position)[i], static_cast<float>(std::cos(static_cast<double>(angle))));
      EXPECT_EQ(table.sin(position)[i], static_cast<float>(std::sin(static_cast<double>(angle))));
    }
}

}  // namespace
}  // namespace trimeter
