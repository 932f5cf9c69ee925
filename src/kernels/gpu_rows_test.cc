#include "kernels/gpu_rows.h"

#include <gtest/gtest.h>

namespace trimeter {
namespace {

TEST(GpuRows, TheBusiestMultiprocessorIsWaitedFor) {
  EXPECT_EQ(gpu_rows_waited_for(132 * 16, 16, 132), 132 * 16);
  EXPECT_EQ(gpu_rows_waited_for(132 * 16 + 1, 16, 132), 2 * 132 * 16);
  EXPECT_EQ(gpu_rows_waited_for(4608, 16, 132), 3 * 132 * 16);  // 288 blocks
  EXPECT_EQ(gpu_rows_waited_for(16, 32, 132), 132 * 32);
}

TEST(GpuRows, BlocksStayWholeWhereEveryMultiprocessorHasOne) {
  EXPECT_FALSE(gpu_blocks_stay_whole(132 * 16, 16, 132));
  EXPECT_TRUE(gpu_blocks_stay_whole(132 * 16 + 1, 16, 132));
}

// As many as an H200 seems to run at once, by which row blocks took a second wave (of 2: at least 64).
constexpr GpuClusters kClusters = {0, 0, 64, 39, 30, 23, 17, 15, 14};

TEST(GpuRows, WgmmaDividesWorkSoThatItTakesLeast) {
  const auto division = [](int64_t n, int64_t k, int64_t n_tokens) {
    return gpu_wgmma_division(n, k, n_tokens, 132, kClusters);
  };
  EXPECT_EQ(division(28672, 4096, 64), (GpuWgmmaDivision{256, 1, false}));  // 112 blocks
  EXPECT_EQ(division(37888, 3584, 64), (GpuWgmmaDivision{256, 1, true}));   // 148
  EXPECT_EQ(division(37888, 896, 64), (GpuWgmmaDivision{256, 1, true}));    // each wave has its own start
  EXPECT_EQ(division(3584, 18944, 64), (GpuWgmmaDivision{256, 8, false}));  // 14
  EXPECT_EQ(division(4096, 14336, 64), (GpuWgmmaDivision{256, 6, false}));  // 16 clusters of 8 are not there
  EXPECT_EQ(division(3584, 3584, 64), (GpuWgmmaDivision{128, 4, false}));
  EXPECT_EQ(division(9728, 896, 64), (GpuWgmmaDivision{128, 1, false}));
  EXPECT_EQ(division(37888, 3584, 128).rows, 128);  // its sums are twice as many
  EXPECT_EQ(gpu_wgmma_division(3584, 3584, 64, 132, {}).cluster, 1);
  EXPECT_FALSE(division(int64_t{1} << 20, 4096, 64).is_shared);  // more blocks than counters
}

// What the kernel relies on, whatever the card: two neighbours share a block, not three; a cluster's CTAs have a unit
// each and run at once; for sums of more than 64 tokens of 256 rows there are no registers.
TEST(GpuRows, WgmmaDividesWorkAsItsKernelCan) {
  for (const GpuClusters& clusters : {kClusters, GpuClusters{}, GpuClusters{0, 0, 1, 0, 1, 0, 0, 0, 0}})
    for (const int64_t n : {1, 100, 896, 3584, 28672, 152064, 600000})
      for (const int64_t k : {32, 96, 128, 896, 4096, 18944})
        for (const int64_t n_tokens : {9, 64, 65, 128})
          for (const int64_t n_multiprocessors : {1, 16, 78, 132}) {
            const GpuWgmmaDivision division = gpu_wgmma_division(n, k, n_tokens, n_multiprocessors, clusters);
            const int64_t blocks = (n + division.rows - 1) / division.rows;
            EXPECT_TRUE(division.rows == 128 || (division.rows == 256 && n_tokens <= 64));
            if (division.is_shared) {
              EXPECT_EQ(division.cluster, 1);
              EXPECT_GT(blocks, n_multiprocessors);
              EXPECT_LE(blocks, 2048);
            }
            if (division.cluster > 1) {
              EXPECT_LE(division.cluster, (k + 127) / 128);
              EXPECT_GT(clusters[static_cast<size_t>(division.cluster)], 0);
            }
          }
}

TEST(GpuRows, WgmmaIsForManyTokensOrSmallWeights) {
  EXPECT_TRUE(gpu_wgmma_takes(8192, 4096, 16, 90));
  EXPECT_FALSE(gpu_wgmma_takes(8192, 4097, 16, 90));
  EXPECT_TRUE(gpu_wgmma_takes(4096, 4096, 128, 90));
  EXPECT_TRUE(gpu_wgmma_takes(28672, 4096, 17, 90));
  EXPECT_FALSE(gpu_wgmma_takes(28672, 4096, 16, 90));
  EXPECT_TRUE(gpu_wgmma_takes(4096, 4096, 9, 90));
  EXPECT_FALSE(gpu_wgmma_takes(4096, 4096, 8, 90));
  EXPECT_FALSE(gpu_wgmma_takes(4096, 4096, 129, 90));
  EXPECT_FALSE(gpu_wgmma_takes(4096, 4096, 64, 89));
  EXPECT_FALSE(gpu_wgmma_takes(4096, 4096, 64, 100));
}

}  // namespace
}  // namespace trimeter
