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

}  // namespace
}  // namespace trimeter
