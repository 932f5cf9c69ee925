// The cost model predicts from steps that it simulates (cost/schedule.h): they must be the scheduler's own.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <random>

#include "cost/schedule.h"
#include "engine/scheduler.h"

namespace trimeter {
namespace {

struct Going {
  Sequence sequence;
  int64_t n_limit;  // tokens at its end
  int index;
};

// One step of the scheduler, compared with the simulated one.
void expect_same(const StepPlan& plan, const ScheduledStep& want, const std::list<Going>& runs) {
  ASSERT_EQ(plan.items.size(), want.shape.seqs.size());
  int64_t n_prompt_tokens = 0;
  for (size_t i = 0; i < plan.items.size(); ++i) {
    const auto& [sequence, n_tokens] = plan.items[i];
    const auto run = std::ranges::find(runs, sequence, [](const Going& r) { return &r.sequence; });
    EXPECT_EQ(run->index, want.requests[i]);
    EXPECT_EQ(n_tokens, want.shape.seqs[i].n_new);
    EXPECT_EQ(sequence->n_computed, want.shape.seqs[i].n_context);
    EXPECT_EQ(sequence->n_computed + n_tokens == sequence->n_tokens(), want.emits[i]);
    n_prompt_tokens += n_tokens == 1 && sequence->n_computed >= sequence->n_prompt ? 0 : n_tokens;
  }
  EXPECT_EQ(n_prompt_tokens, want.n_prompt_tokens);
}

TEST(PredictedSchedule, IsTheSchedulersStepByStep) {
  int64_t n_preemptions = 0;
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<unsigned>(n)); };
    const int32_t n_seats = 1 + below(8);
    const EngineLimits limits{
        .max_model_len = 64, .max_num_seqs = n_seats, .max_num_batched_tokens = n_seats + below(40), .block_size = 4};
    const int64_t n_blocks = 16 + below(30);
    Workload workload;
    workload.max_tokens = 1 + below(20);
    for (int i = 0; i < 20; ++i) workload.prompt_tokens.push_back(1 + below(50));
    const Schedule want = simulate_schedule(workload, limits, n_blocks);

    BlockPool pool(n_blocks, limits.block_size);
    Scheduler scheduler(limits, pool);
    std::list<Going> runs;
    for (const int64_t n_prompt : workload.prompt_tokens) {
      Going& run = runs.emplace_back();
      run.index = static_cast<int>(runs.size()) - 1;
      run.n_limit = std::min<int64_t>(n_prompt + workload.max_tokens, limits.max_model_len);
      run.sequence.tokens.resize(static_cast<size_t>(n_prompt));
      run.sequence.n_prompt = static_cast<int32_t>(n_prompt);
      run.sequence.uses_prefix_cache = false;
      scheduler.add(run.sequence);
    }
    size_t n_steps = 0;
    for (; !runs.empty(); ++n_steps) {
      ASSERT_LT(n_steps, want.steps.size());
      const StepPlan& plan = scheduler.schedule();
      expect_same(plan, want.steps[n_steps], runs);
      ASSERT_FALSE(HasFailure()) << "seed " << seed << ", step " << n_steps;
      scheduler.commit();
      std::erase_if(runs, [&](Going& run) {
        Sequence& sequence = run.sequence;
        if (sequence.seat < 0 || sequence.n_computed < sequence.n_tokens()) return false;
        sequence.tokens.push_back(0);
        if (sequence.n_tokens() < run.n_limit) return false;
        scheduler.finish(sequence);
        return true;
      });
    }
    EXPECT_EQ(n_steps, want.steps.size());
    EXPECT_EQ(scheduler.counts().n_preemptions, want.n_preemptions);
    n_preemptions += want.n_preemptions;
  }
  EXPECT_GT(n_preemptions, 0);
}

}  // namespace
}  // namespace trimeter
