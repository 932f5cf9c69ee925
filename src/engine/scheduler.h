// Which tokens of which sequences the next step computes. One budget of max_num_batched_tokens for prefill and decode:
//
//   1. Running sequences, oldest first: each gets what it has uncomputed, as far as the budget goes (a decode: 1 token;
//   a
//      prefill: a chunk). A sequence that finds no free block for its next token preempts the youngest running one:
//      that one gives up its blocks and waits in front, to be computed again from its tokens (its full blocks usually
//      still are in the prefix cache).
//   2. If nothing was preempted: waiting sequences, first come first served, while there is budget, a seat
//      (max_num_seqs) and a block for each of the tokens it has. The front one is never overtaken. Prompt blocks in the
//      prefix cache are shared instead of computed; the last token always is computed, as its logits are wanted.
//
// The oldest sequence always advances: the pool holds at least max_model_len tokens (checked here), so a sequence that
// runs alone never lacks a block. Nothing is allocated after the constructor but the waiting queue.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "engine/block_pool.h"
#include "engine/sequence.h"
#include "spec/ledger.h"

namespace trimeter {

struct StepPlan {
  struct Item {
    Sequence* sequence;
    int32_t n_tokens;  // computed in this step: positions n_computed ... n_computed + n_tokens - 1
  };
  std::vector<Item> items;
  int32_t n_tokens = 0;
};

class Scheduler {
 public:
  struct Counts {
    int64_t n_preemptions = 0;
    int64_t n_prefix_queries = 0, n_prefix_hits = 0;  // tokens, at first admissions
  };

  Scheduler(const EngineLimits& limits, BlockPool& pool);

  // At most max_model_len tokens, also later. The sequence stays the caller's and in its place until finish().
  void add(Sequence& sequence);
  // The next step; empty if nothing waits or runs. Valid until the next call.
  const StepPlan& schedule();
  // The step has run: its tokens are computed, and full blocks become known to the prefix cache.
  void commit();
  // Gives a running sequence's blocks back and forgets the sequence.
  void finish(Sequence& sequence);

  int32_t n_running() const { return static_cast<int32_t>(running_.size()); }
  int32_t n_waiting() const { return static_cast<int32_t>(waiting_.size()); }
  const Counts& counts() const { return counts_; }
  int64_t block_table_bytes() const { return static_cast<int64_t>(block_tables_.size() * sizeof(int32_t)); }

 private:
  bool schedule_running();
  void admit_waiting();
  bool take_seat(Sequence& sequence);
  int32_t find_prefix(const Sequence& sequence, int32_t* table) const;
  bool grow(Sequence& sequence, int32_t n_tokens);
  void preempt_youngest();
  void leave_seat(Sequence& sequence);
  void plan(Sequence& sequence);
  int32_t blocks_for(int32_t n_tokens) const { return (n_tokens + pool_.block_size() - 1) / pool_.block_size(); }

  EngineLimits limits_;
  BlockPool& pool_;
  StepPlan plan_;
  std::vector<Sequence*> running_;  // oldest first
  std::deque<Sequence*> waiting_;
  std::vector<int32_t> block_tables_;  // [max_num_seqs][blocks_for(max_model_len)]
  std::vector<int32_t> free_seats_;
  Counts counts_;
};

}  // namespace trimeter
