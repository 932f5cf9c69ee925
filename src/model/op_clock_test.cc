#include "model/op_clock.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace trimeter {
namespace {

void pass(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

TEST(OpClock, AMarkClosesWhatRanSinceTheOneBefore) {
  OpClock clock;
  clock.begin_step();
  pass(2);
  clock.mark(Op::kQkv);
  clock.mark(Op::kAttention);
  pass(4);
  clock.mark(Op::kQkv);
  pass(3);
  clock.end_step(true);
  pass(200);  // between steps: nobody's
  clock.begin_step();
  pass(1);
  clock.mark(Op::kLmHead);
  clock.end_step(false);

  const auto [prefill, decode] = clock.profile();
  EXPECT_EQ(prefill.n_steps, 1);
  ASSERT_EQ(prefill.operations.size(), 3u);
  EXPECT_EQ(prefill.operations[0].name, "qkv_proj");
  EXPECT_EQ(prefill.operations[0].n_calls, 2);
  EXPECT_GE(prefill.operations[0].seconds, 0.006);
  EXPECT_EQ(prefill.operations[1].name, "attention");
  EXPECT_LT(prefill.operations[1].seconds, 0.002);
  EXPECT_EQ(prefill.operations[2].name, "rest");
  EXPECT_GE(prefill.operations[2].seconds, 0.003);
  double sum = 0;
  for (const OperationTime& operation : prefill.operations) sum += operation.seconds;
  EXPECT_DOUBLE_EQ(prefill.seconds, sum);

  EXPECT_EQ(decode.n_steps, 1);
  ASSERT_EQ(decode.operations.size(), 2u);
  EXPECT_EQ(decode.operations[0].name, "lm_head");
  EXPECT_LT(decode.seconds, 0.200);
}

}  // namespace
}  // namespace trimeter
