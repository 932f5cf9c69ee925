#include "record/kernel_lines.h"

#include <gtest/gtest.h>

namespace trimeter {
namespace {

TEST(KernelLines, LayersOfTheSameKernelStandTogether) {
  const auto kernels =
      layers_of_kernels({"qkv_proj: a.avx2: x", "o_proj: a.avx2: y", "lm_head: a.avx2: x", "no layer"});
  ASSERT_EQ(kernels.size(), 3u);
  EXPECT_EQ(kernels[0].layers, "qkv_proj, lm_head");
  EXPECT_EQ(kernels[0].said, "a.avx2: x");
  EXPECT_EQ(kernels[1].layers, "o_proj");
  EXPECT_EQ(kernels[2].layers, "");
  EXPECT_EQ(kernels[2].said, "no layer");
}

}  // namespace
}  // namespace trimeter
