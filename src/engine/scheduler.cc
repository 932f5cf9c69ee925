#include "engine/scheduler.h"

#include <algorithm>

#include "base/error.h"

namespace trimeter {

Scheduler::Scheduler(const EngineLimits& limits, BlockPool& pool) : limits_(limits), pool_(pool) {
  TM_CHECK(limits.max_num_seqs > 0 && limits.max_num_batched_tokens >= limits.max_num_seqs,
           "{} batched tokens for {} sequences: each needs one", limits.max_num_batched_tokens, limits.max_num_seqs);
  TM_CHECK(pool.n_blocks() >= blocks_for(limits.max_model_len), "{} blocks can't hold one sequence of {} tokens",
           pool.n_blocks(), limits.max_model_len);
  const auto n_seats = static_cast<size_t>(limits.max_num_seqs);
  plan_.items.reserve(n_seats);
  running_.reserve(n_seats);
  block_tables_.resize(n_seats * static_cast<size_t>(blocks_for(limits.max_model_len)));
  for (int32_t seat = limits.max_num_seqs; seat-- > 0;) free_seats_.push_back(seat);
}

void Scheduler::add(Sequence& sequence) {
  TM_CHECK(sequence.n_tokens() > 0 && sequence.n_tokens() <= limits_.max_model_len, "a sequence of {} tokens",
           sequence.n_tokens());
  waiting_.push_back(&sequence);
}

const StepPlan& Scheduler::schedule() {
  plan_.items.clear();
  plan_.n_tokens = 0;
  if (schedule_running()) admit_waiting();
  return plan_;
}

// False if a sequence had to be preempted: no block is free then, and nobody can be admitted.
bool Scheduler::schedule_running() {
  bool all_kept = true;
  for (size_t i = 0; i < running_.size() && plan_.n_tokens < limits_.max_num_batched_tokens; ++i) {
    Sequence& sequence = *running_[i];
    while (!grow(sequence, sequence.n_tokens())) {
      all_kept = false;
      TM_CHECK(running_.size() > 1, "a sequence of {} tokens that runs alone lacks a block", sequence.n_tokens());
      preempt_youngest();
      if (running_.size() == i) return false;  // it was the youngest itself
    }
    plan(sequence);
  }
  return all_kept;
}

void Scheduler::admit_waiting() {
  while (!waiting_.empty() && !free_seats_.empty() && plan_.n_tokens < limits_.max_num_batched_tokens) {
    Sequence& sequence = *waiting_.front();
    if (!take_seat(sequence)) return;
    waiting_.pop_front();
    running_.push_back(&sequence);
    plan(sequence);
  }
}

// Blocks for all tokens that the sequence has, from the prefix cache as far as it reaches; false, and nothing changed,
// if there are too few.
bool Scheduler::take_seat(Sequence& sequence) {
  const int32_t seat = free_seats_.back();
  int32_t* table = block_tables_.data() + static_cast<int64_t>(seat) * blocks_for(limits_.max_model_len);
  const int32_t n_found = sequence.uses_prefix_cache ? find_prefix(sequence, table) : 0;
  const auto n_found_free = std::count_if(table, table + n_found, [&](int32_t b) { return pool_.n_refs(b) == 0; });
  if (blocks_for(sequence.n_tokens()) - n_found + n_found_free > pool_.n_free()) return false;

  free_seats_.pop_back();
  sequence.seat = seat;
  sequence.block_table = table;
  sequence.n_blocks = sequence.n_known_blocks = n_found;
  sequence.n_computed = n_found * pool_.block_size();
  sequence.known_serial = n_found > 0 ? pool_.serial(table[n_found - 1]) : BlockPool::kNoParent;
  for (int32_t i = 0; i < n_found; ++i) pool_.retain(table[i]);
  TM_CHECK(grow(sequence, sequence.n_tokens()), "blocks were counted and are not there");
  if (sequence.n_cached_tokens < 0) {
    sequence.n_cached_tokens = sequence.n_computed;
    counts_.n_prefix_queries += sequence.uses_prefix_cache ? sequence.n_tokens() : 0;
    counts_.n_prefix_hits += sequence.n_computed;
  }
  return true;
}

int32_t Scheduler::find_prefix(const Sequence& sequence, int32_t* table) const {
  const int32_t size = pool_.block_size();
  const int32_t n_most = (sequence.n_tokens() - 1) / size;  // the last token is computed in any case
  uint64_t parent = BlockPool::kNoParent;
  for (int32_t i = 0; i < n_most; ++i) {
    const int32_t block = pool_.find(parent, {sequence.tokens.data() + int64_t{i} * size, static_cast<size_t>(size)});
    if (block < 0) return i;
    table[i] = block;
    parent = pool_.serial(block);
  }
  return n_most;
}

bool Scheduler::grow(Sequence& sequence, int32_t n_tokens) {
  const int32_t n_wanted = blocks_for(n_tokens);
  if (n_wanted - sequence.n_blocks > pool_.n_free()) return false;
  while (sequence.n_blocks < n_wanted) sequence.block_table[sequence.n_blocks++] = pool_.allocate();
  return true;
}

void Scheduler::preempt_youngest() {
  Sequence& sequence = *running_.back();
  running_.pop_back();
  leave_seat(sequence);
  waiting_.push_front(&sequence);
  ++counts_.n_preemptions;
}

void Scheduler::leave_seat(Sequence& sequence) {
  while (sequence.n_blocks > 0) pool_.release(sequence.block_table[--sequence.n_blocks]);
  free_seats_.push_back(sequence.seat);
  sequence.seat = -1;
  sequence.block_table = nullptr;
  sequence.n_computed = sequence.n_known_blocks = 0;
  sequence.known_serial = BlockPool::kNoParent;
}

void Scheduler::plan(Sequence& sequence) {
  const int32_t n_left = limits_.max_num_batched_tokens - plan_.n_tokens;
  const int32_t n_tokens = std::min(sequence.n_tokens() - sequence.n_computed, n_left);
  TM_CHECK(n_tokens > 0, "a running sequence of {} tokens has {} computed", sequence.n_tokens(), sequence.n_computed);
  plan_.items.push_back({&sequence, n_tokens});
  plan_.n_tokens += n_tokens;
}

void Scheduler::commit() {
  const int32_t size = pool_.block_size();
  for (const auto& [sequence, n_tokens] : plan_.items) {
    sequence->n_computed += n_tokens;
    if (!sequence->uses_prefix_cache) continue;
    for (int32_t& known = sequence->n_known_blocks; (known + 1) * size <= sequence->n_computed; ++known)
      sequence->known_serial =
          pool_.insert(sequence->block_table[known], sequence->known_serial,
                       {sequence->tokens.data() + int64_t{known} * size, static_cast<size_t>(size)});
  }
}

void Scheduler::finish(Sequence& sequence) {
  const auto at = std::ranges::find(running_, &sequence);
  TM_CHECK(at != running_.end(), "finish() of a sequence that does not run");
  running_.erase(at);
  leave_seat(sequence);
}

}  // namespace trimeter
