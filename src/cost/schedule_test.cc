#include "cost/schedule.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trimeter {
namespace {

EngineLimits limits(int32_t budget, int32_t seats, int32_t block_size = 16) {
  return {.max_model_len = 100, .max_num_seqs = seats, .max_num_batched_tokens = budget, .block_size = block_size};
}

// "0:5@0* 1:3@0" : request 0 computes 5 tokens after 0 in the cache and has a new token at the end; request 1 ...
std::vector<std::string> text_of(const Schedule& schedule) {
  std::vector<std::string> steps;
  for (const ScheduledStep& step : schedule.steps) {
    std::string text;
    for (size_t i = 0; i < step.requests.size(); ++i)
      text += fmt::format("{}{}:{}@{}{}", i ? " " : "", step.requests[i], step.shape.seqs[i].n_new,
                          step.shape.seqs[i].n_context, step.emits[i] ? "*" : "");
    steps.push_back(text);
  }
  return steps;
}

using Steps = std::vector<std::string>;

TEST(Schedule, PrefillThenDecodeTogether) {
  const Schedule schedule = simulate_schedule({{5, 3}, 3}, limits(64, 8), 10);
  EXPECT_EQ(text_of(schedule), (Steps{"0:5@0* 1:3@0*", "0:1@5* 1:1@3*", "0:1@6* 1:1@4*"}));
  EXPECT_EQ(schedule.steps[0].n_prompt_tokens, 8);
  EXPECT_EQ(schedule.steps[0].shape.n_logit_rows, 2);
  EXPECT_EQ(schedule.steps[1].n_prompt_tokens, 0);
  EXPECT_EQ(schedule.n_running_most, 2);
  EXPECT_FALSE(schedule.limited_by_blocks);
}

TEST(Schedule, LongPromptsAreChunkedByTheBudgetAndRunningGoesFirst) {
  const Schedule schedule = simulate_schedule({{10, 5}, 2}, limits(6, 8), 10);
  EXPECT_EQ(text_of(schedule), (Steps{"0:6@0", "0:4@6* 1:2@0", "0:1@10* 1:3@2*", "1:1@5*"}));
  EXPECT_EQ(schedule.steps[1].shape.n_logit_rows, 1);
  EXPECT_EQ(schedule.steps[2].n_prompt_tokens, 3);
}

TEST(Schedule, SeatsLimitTheRunning) {
  const Schedule schedule = simulate_schedule({{2, 2, 2}, 2}, limits(64, 2), 10);
  EXPECT_EQ(text_of(schedule), (Steps{"0:2@0* 1:2@0*", "0:1@2* 1:1@2*", "2:2@0*", "2:1@2*"}));
  EXPECT_FALSE(schedule.limited_by_blocks);
}

TEST(Schedule, AdmissionWaitsForBlocks) {
  // Blocks of 4: each prompt takes one, the second token of the answer would take none more; one block in the pool.
  const Schedule schedule = simulate_schedule({{3, 3}, 2}, limits(64, 8, 4), 1);
  EXPECT_EQ(text_of(schedule), (Steps{"0:3@0*", "0:1@3*", "1:3@0*", "1:1@3*"}));
  EXPECT_TRUE(schedule.limited_by_blocks);
  EXPECT_EQ(schedule.n_preemptions, 0);
}

TEST(Schedule, AChunkedPromptTakesAllItsBlocksAtOnce) {
  // Blocks of 4, four in the pool. Request 0 takes three; the two that request 1 needs are not there, though its first
  // chunk would fit in the one that is.
  const Schedule schedule = simulate_schedule({{12, 8}, 1}, limits(7, 8, 4), 4);
  EXPECT_EQ(text_of(schedule), (Steps{"0:7@0", "0:5@7*", "1:7@0", "1:1@7*"}));
  EXPECT_EQ(schedule.steps[3].n_prompt_tokens, 1);
}

TEST(Schedule, TheYoungestIsPutBackAndComputedAgain) {
  // Blocks of 4, three in the pool. Both prompts fill a block; both want a second one in step 2: the first gets the
  // last, the second is put back, waits, and comes back with the token that it has already made.
  const Schedule schedule = simulate_schedule({{4, 4}, 3}, limits(64, 8, 4), 3);
  EXPECT_EQ(text_of(schedule), (Steps{"0:4@0* 1:4@0*", "0:1@4*", "0:1@5*", "1:5@0*", "1:1@5*"}));
  EXPECT_EQ(schedule.n_preemptions, 1);
  EXPECT_TRUE(schedule.limited_by_blocks);
  EXPECT_EQ(schedule.steps[3].n_prompt_tokens, 5);
}

TEST(Schedule, GenerationEndsAtTheModelsLength) {
  EngineLimits four = limits(64, 8);
  four.max_model_len = 4;
  EXPECT_EQ(text_of(simulate_schedule({{2}, 10}, four, 10)), (Steps{"0:2@0*", "0:1@2*"}));
}

TEST(Schedule, RefusesWhatCanNeverRun) {
  EXPECT_THROW(simulate_schedule({{0}, 1}, limits(64, 8), 10), Error);
  EXPECT_THROW(simulate_schedule({{100}, 1}, limits(64, 8), 10), Error);
  try {
    simulate_schedule({{3, 30}, 10}, limits(64, 8, 4), 5);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kNoMemory);
    EXPECT_STREQ(error.what(), "request 1: 39 tokens need 10 KV blocks, the pool has 5");
  }
}

}  // namespace
}  // namespace trimeter
