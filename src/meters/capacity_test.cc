#include "meters/capacity.h"

#include <gtest/gtest.h>

namespace trimeter {
namespace {

EngineInfo info() {
  EngineInfo info;
  info.kv_blocks = 25;
  info.block_size = 16;
  info.block_bytes = 1000;
  info.memory.kv_bytes = 25000;
  info.memory.weights_bytes = 77;
  return info;
}

TEST(Capacity, FromTheEnginesOwnWords) {
  const Capacity capacity = measure_capacity(info());
  EXPECT_EQ(capacity.kv_blocks, 25);
  EXPECT_EQ(capacity.kv_cache_tokens, 400);
  EXPECT_EQ(capacity.block_bytes, 1000);
  EXPECT_EQ(capacity.memory.weights_bytes, 77);
}

TEST(CapacityDeathTest, ThePoolMustBeItsBlocks) {
  EngineInfo wrong = info();
  wrong.memory.kv_bytes = 24999;
  EXPECT_DEATH(measure_capacity(wrong), "a pool of 24999 bytes, 25 blocks of 1000 bytes");
}

}  // namespace
}  // namespace trimeter
