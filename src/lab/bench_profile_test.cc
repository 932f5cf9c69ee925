#include "lab/bench_profile.h"

#include <gtest/gtest.h>

namespace trimeter {
namespace {

EngineProfile round_of(double rope_s, double sampling_s) {
  const std::vector<OperationTime> operations{{"rope+kv_write", 12, rope_s}, {"sampling", 4, sampling_s}};
  return {{2, rope_s + sampling_s, operations}, {4, rope_s + sampling_s, operations}};
}

TEST(BenchProfile, FiguresByHand) {
  WorkloadFloor floor;
  floor.prompt = {{"rope", 0, 100, 0, 0.25}, {"kv_write", 40, 0, 0.125, 0}, {"attention", 7, 7, 7, 7}};
  floor.decode = {{"kv_write", 4, 0, 0.0625, 0}};
  const std::vector<EngineProfile> rounds{round_of(2, 1), round_of(4, 1), round_of(3, 2)};
  const RecordProfile profile = profile_record(rounds, floor);

  // Of all prompts together.
  EXPECT_EQ(profile.prompt.steps, 2);
  EXPECT_EQ(profile.prompt.seconds.samples, (std::vector<double>{3, 5, 5}));
  ASSERT_EQ(profile.prompt.operations.size(), 2u);
  const RecordOperation& rope = profile.prompt.operations[0];
  EXPECT_EQ(rope.calls, 12);
  EXPECT_EQ(rope.seconds.median, 3);
  EXPECT_EQ(rope.bytes, 40);
  EXPECT_EQ(rope.operations, 100);
  EXPECT_EQ(rope.floor_s, 0.375);
  EXPECT_EQ(profile.prompt.operations[1].floor_s, 0);

  // Of one step.
  ASSERT_TRUE(profile.decode);
  EXPECT_EQ(profile.decode->steps, 4);
  EXPECT_EQ(profile.decode->seconds.median, 1.25);
  EXPECT_EQ(profile.decode->operations[0].calls, 3);
  EXPECT_EQ(profile.decode->operations[0].seconds.median, 0.75);
  EXPECT_EQ(profile.decode->operations[0].bytes, 4);
  EXPECT_EQ(profile.decode->operations[1].seconds.samples, (std::vector<double>{0.25, 0.25, 0.5}));

  std::vector<EngineProfile> only_prompts = rounds;
  for (EngineProfile& round : only_prompts) round.decode = {};
  EXPECT_FALSE(profile_record(only_prompts, floor).decode);
}

}  // namespace
}  // namespace trimeter
