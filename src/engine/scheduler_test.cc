#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <set>

namespace trimeter {
namespace {

constexpr int32_t kBlockSize = 4;

EngineLimits limits(int32_t max_num_seqs, int32_t max_num_batched_tokens, int32_t max_model_len) {
  return {max_model_len, max_num_seqs, max_num_batched_tokens, kBlockSize};
}

Sequence sequence_of(int32_t n_tokens, int32_t first_token = 0) {
  Sequence sequence;
  sequence.tokens.resize(static_cast<size_t>(n_tokens));
  std::iota(sequence.tokens.begin(), sequence.tokens.end(), first_token);
  sequence.n_prompt = n_tokens;
  sequence.next_logits = n_tokens - 1;
  return sequence;
}

// What a step computes: tokens by sequence, in the plan's order.
std::vector<std::pair<const Sequence*, int32_t>> step(Scheduler& scheduler) {
  std::vector<std::pair<const Sequence*, int32_t>> result;
  for (const auto& [sequence, n_tokens] : scheduler.schedule().items) result.emplace_back(sequence, n_tokens);
  scheduler.commit();
  return result;
}
using Items = std::vector<std::pair<const Sequence*, int32_t>>;

TEST(Scheduler, OneBudgetForPrefillAndDecodeAndPromptsInChunks) {
  BlockPool pool(64, kBlockSize);
  Scheduler scheduler(limits(4, 10, 64), pool);
  Sequence a = sequence_of(3, 100), b = sequence_of(15, 200);
  scheduler.add(a);
  scheduler.add(b);
  EXPECT_EQ(step(scheduler), (Items{{&a, 3}, {&b, 7}}));
  a.tokens.push_back(1);  // a decodes: it goes first, the rest of the budget is b's
  EXPECT_EQ(step(scheduler), (Items{{&a, 1}, {&b, 8}}));
  EXPECT_EQ(b.n_computed, 15);
}

TEST(Scheduler, FirstComeFirstServedAndNoMoreThanSeats) {
  BlockPool pool(64, kBlockSize);
  Scheduler scheduler(limits(2, 100, 64), pool);
  Sequence a = sequence_of(30, 100), b = sequence_of(2, 200), c = sequence_of(2, 300);
  for (Sequence* s : {&a, &b, &c}) scheduler.add(*s);
  EXPECT_EQ(step(scheduler), (Items{{&a, 30}, {&b, 2}}));
  EXPECT_EQ(scheduler.n_waiting(), 1);
  a.tokens.push_back(1);
  scheduler.finish(b);
  EXPECT_EQ(step(scheduler), (Items{{&a, 1}, {&c, 2}}));
}

TEST(Scheduler, AdmitsOnlyWhatHasBlocksAndNobodyOvertakes) {
  BlockPool pool(4, kBlockSize);
  Scheduler scheduler(limits(4, 100, 16), pool);
  Sequence a = sequence_of(9, 100), b = sequence_of(8, 200), c = sequence_of(1, 300);
  for (Sequence* s : {&a, &b, &c}) scheduler.add(*s);
  EXPECT_EQ(step(scheduler), (Items{{&a, 9}}));  // 3 of 4 blocks; b needs 2; c would fit and waits behind b
  EXPECT_EQ(pool.n_free(), 1);
  scheduler.finish(a);
  EXPECT_EQ(step(scheduler), (Items{{&b, 8}, {&c, 1}}));
}

TEST(Scheduler, PreemptsTheYoungestWhichThenWaitsInFront) {
  BlockPool pool(4, kBlockSize);
  Scheduler scheduler(limits(4, 100, 16), pool);
  Sequence a = sequence_of(8, 100), b = sequence_of(4, 200), c = sequence_of(3, 300), d = sequence_of(1, 400);
  for (Sequence* s : {&a, &b, &c, &d}) scheduler.add(*s);
  EXPECT_EQ(step(scheduler), (Items{{&a, 8}, {&b, 4}, {&c, 3}}));
  for (Sequence* s : {&a, &b, &c}) s->tokens.push_back(1);
  // a takes c's block; b needs one too and is the youngest itself; a step with preemptions admits nobody.
  EXPECT_EQ(step(scheduler), (Items{{&a, 1}}));
  EXPECT_EQ(scheduler.counts().n_preemptions, 2);
  EXPECT_EQ(scheduler.n_waiting(), 3);
  EXPECT_EQ(b.n_computed + c.n_computed, 0);
  scheduler.finish(a);
  // Recomputed from its tokens, the generated one too; its first block is still in the prefix cache.
  EXPECT_EQ(step(scheduler), (Items{{&b, 1}, {&c, 4}, {&d, 1}}));
}

TEST(Scheduler, SharesCachedPromptBlocksAndComputesTheLastToken) {
  BlockPool pool(16, kBlockSize);
  Scheduler scheduler(limits(4, 100, 32), pool);
  Sequence a = sequence_of(12, 100);
  scheduler.add(a);
  step(scheduler);
  Sequence b = sequence_of(12, 100), c = sequence_of(13, 100), d = sequence_of(12, 101);
  for (Sequence* s : {&b, &c, &d}) scheduler.add(*s);
  a.tokens.push_back(1);
  EXPECT_EQ(step(scheduler), (Items{{&a, 1}, {&b, 4}, {&c, 1}, {&d, 12}}));
  EXPECT_EQ(b.n_cached_tokens, 8);  // all 12 are cached, but somebody must compute the last one's logits
  EXPECT_EQ(c.n_cached_tokens, 12);
  EXPECT_EQ(d.n_cached_tokens, 0);
  EXPECT_EQ(pool.n_refs(a.block_table[0]), 3);
  EXPECT_EQ(scheduler.counts().n_prefix_queries, 12 + 12 + 13 + 12);
  EXPECT_EQ(scheduler.counts().n_prefix_hits, 8 + 12);
}

TEST(Scheduler, APrefixOutlivesWhatFollowsIt) {
  BlockPool pool(4, kBlockSize);
  Scheduler scheduler(limits(4, 100, 16), pool);
  Sequence a = sequence_of(12, 100), b = sequence_of(8, 200), c = sequence_of(13, 100);
  scheduler.add(a);
  step(scheduler);
  scheduler.finish(a);
  scheduler.add(b);  // the blank block and one that a left: its last
  step(scheduler);
  scheduler.finish(b);
  scheduler.add(c);
  step(scheduler);
  EXPECT_EQ(c.n_cached_tokens, 8);
}

TEST(Scheduler, ScoringNeitherUsesNorFillsTheCache) {
  BlockPool pool(16, kBlockSize);
  Scheduler scheduler(limits(4, 100, 32), pool);
  Sequence a = sequence_of(12, 100), b = sequence_of(12, 100), c = sequence_of(12, 100);
  a.uses_prefix_cache = false;
  scheduler.add(a);
  step(scheduler);
  scheduler.finish(a);
  scheduler.add(b);
  EXPECT_EQ(step(scheduler), (Items{{&b, 12}}));
  scheduler.finish(b);
  c.uses_prefix_cache = false;
  scheduler.add(c);
  EXPECT_EQ(step(scheduler), (Items{{&c, 12}}));
  EXPECT_EQ(scheduler.counts().n_prefix_queries, 12);
}

TEST(Scheduler, APoolTooSmallForOneSequenceIsRefused) {
  BlockPool pool(4, kBlockSize);
  EXPECT_DEATH(Scheduler(limits(1, 8, 17), pool), "can't hold one sequence of 17 tokens");
  EXPECT_DEATH(Scheduler(limits(8, 7, 16), pool), "each needs one");
}

// Random arrivals, lengths and sharing on a pool that is always too small. After each step: the budget holds, every
// block is referenced by exactly the running tables, no block that is written is shared, and everybody finishes.
TEST(Scheduler, RandomWorkloadsKeepEveryInvariantAndFinish) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<unsigned>(n)); };
    const EngineLimits bounds = limits(1 + below(6), 6 + below(20), 40);
    BlockPool pool(10 + below(10), kBlockSize);
    Scheduler scheduler(bounds, pool);
    std::vector<std::unique_ptr<Sequence>> live;
    std::vector<int32_t> n_wanted;
    int n_arrived = 0, n_finished = 0, n_steps = 0;
    while (n_finished < 60) {
      ASSERT_LT(++n_steps, 20000) << "no progress";
      while (n_arrived < 60 && below(3) == 0) {
        live.push_back(std::make_unique<Sequence>(sequence_of(1 + below(30), 1000 * below(2))));
        live.back()->uses_prefix_cache = below(4) != 0;
        n_wanted.push_back(std::min(live.back()->n_tokens() + 1 + below(15), 40));
        ++n_arrived;
        scheduler.add(*live.back());
      }
      const StepPlan& plan = scheduler.schedule();
      ASSERT_LE(plan.n_tokens, bounds.max_num_batched_tokens);
      ASSERT_LE(plan.items.size(), static_cast<size_t>(bounds.max_num_seqs));
      std::set<int32_t> written;
      for (const auto& [sequence, n_tokens] : plan.items) {
        ASSERT_LE(sequence->n_computed + n_tokens, sequence->n_blocks * kBlockSize);
        for (int32_t i = sequence->n_computed / kBlockSize; i * kBlockSize < sequence->n_computed + n_tokens; ++i) {
          ASSERT_EQ(pool.n_refs(sequence->block_table[i]), 1) << "writes to a shared block";
          ASSERT_TRUE(written.insert(sequence->block_table[i]).second);
        }
      }
      scheduler.commit();
      pool.check_invariants();
      std::vector<int32_t> refs(static_cast<size_t>(pool.n_blocks()));
      for (const auto& sequence : live)
        for (int32_t i = 0; i < sequence->n_blocks; ++i) ++refs[static_cast<size_t>(sequence->block_table[i])];
      for (int32_t block = 0; block < pool.n_blocks(); ++block)
        ASSERT_EQ(pool.n_refs(block), refs[static_cast<size_t>(block)]);

      for (size_t i = live.size(); i-- > 0;) {
        Sequence& sequence = *live[i];
        if (sequence.seat < 0 || sequence.n_computed < sequence.n_tokens()) continue;
        sequence.tokens.push_back(below(2));
        if (sequence.n_tokens() < n_wanted[i]) continue;
        scheduler.finish(sequence);
        live.erase(live.begin() + static_cast<int64_t>(i));
        n_wanted.erase(n_wanted.begin() + static_cast<int64_t>(i));
        ++n_finished;
      }
    }
    EXPECT_EQ(pool.n_free(), pool.n_blocks());
    EXPECT_GT(scheduler.counts().n_prefix_hits, 0);
  }
}

}  // namespace
}  // namespace trimeter
