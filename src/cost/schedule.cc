#include "cost/schedule.h"

#include <algorithm>
#include <deque>

#include "base/error.h"
#include "base/integers.h"

namespace trimeter {
namespace {

struct Simulated {
  int index = 0;
  int64_t n_prompt = 0, n_limit = 0;    // tokens of the prompt; and of the whole sequence when it is done
  int64_t n_total = 0, n_computed = 0;  // tokens it has; and of these in the cache
  int64_t n_blocks = 0;
};

class Simulation {
 public:
  Simulation(const Workload& workload, const EngineLimits& limits, int64_t n_blocks)
      : limits_(limits), n_free_(n_blocks) {
    for (size_t i = 0; i < workload.prompt_tokens.size(); ++i) {
      const int64_t n_prompt = workload.prompt_tokens[i];
      if (n_prompt < 1 || n_prompt >= limits.max_model_len)
        throw Error(Errc::kBadArgument, "request {}: a prompt of {} tokens, wanted 1 to {} (max_model_len {})", i,
                    n_prompt, limits.max_model_len - 1, limits.max_model_len);
      const int64_t n_limit = std::min<int64_t>(n_prompt + workload.max_tokens, limits.max_model_len);
      if (blocks_for(n_limit - 1) > n_blocks)
        throw Error(Errc::kNoMemory, "request {}: {} tokens need {} KV blocks, the pool has {}", i, n_limit - 1,
                    blocks_for(n_limit - 1), n_blocks);
      if (workload.max_tokens > 0)
        waiting_.push_back(
            {.index = static_cast<int>(i), .n_prompt = n_prompt, .n_limit = n_limit, .n_total = n_prompt});
    }
  }

  Schedule run() {
    while (!running_.empty() || !waiting_.empty()) step();
    return std::move(schedule_);
  }

 private:
  int64_t blocks_for(int64_t n_tokens) const { return ceil_div(n_tokens, limits_.block_size); }

  void step() {
    step_ = {};
    n_new_.clear();
    int64_t budget = limits_.max_num_batched_tokens;
    const bool preempted = schedule_running(budget);
    if (!preempted) admit(budget);
    TM_CHECK(!n_new_.empty(), "a step of nothing with {} running and {} waiting", running_.size(), waiting_.size());
    finish_step();
  }

  // Running requests go on, oldest first; for want of blocks the youngest is put back. True if one was.
  bool schedule_running(int64_t& budget) {
    bool preempted = false;
    for (size_t i = 0; i < running_.size() && budget > 0; ++i) {
      const int64_t n_new = std::min(running_[i].n_total - running_[i].n_computed, budget);
      const int64_t n_wanted = blocks_for(running_[i].n_total) - running_[i].n_blocks;
      while (n_free_ < n_wanted && running_.size() > i) {
        preempt_last();
        preempted = true;
      }
      if (running_.size() <= i) break;
      take(running_[i], n_wanted, n_new, budget);
    }
    return preempted;
  }

  void admit(int64_t& budget) {
    while (!waiting_.empty() && budget > 0 && static_cast<int64_t>(running_.size()) < limits_.max_num_seqs) {
      Simulated& next = waiting_.front();
      const int64_t n_new = std::min(next.n_total, budget), n_wanted = blocks_for(next.n_total);
      if (n_free_ < n_wanted) {
        schedule_.limited_by_blocks = true;
        return;
      }
      running_.push_back(next);
      waiting_.pop_front();
      take(running_.back(), n_wanted, n_new, budget);
    }
  }

  void take(Simulated& request, int64_t n_blocks, int64_t n_new, int64_t& budget) {
    n_free_ -= n_blocks;
    request.n_blocks += n_blocks;
    budget -= n_new;
    n_new_.push_back(n_new);
  }

  void preempt_last() {
    Simulated victim = running_.back();
    running_.pop_back();
    n_free_ += victim.n_blocks;
    victim.n_blocks = victim.n_computed = 0;
    waiting_.push_front(victim);
    ++schedule_.n_preemptions;
    schedule_.limited_by_blocks = true;
  }

  // The requests of this step are the first n_new_.size() of running_: each is scheduled in order, and what is put back
  // is always behind.
  void finish_step() {
    schedule_.n_running_most = std::max<int64_t>(schedule_.n_running_most, static_cast<int64_t>(n_new_.size()));
    for (size_t i = 0; i < n_new_.size(); ++i) {
      Simulated& request = running_[i];
      step_.shape.seqs.push_back({.n_new = n_new_[i], .n_context = request.n_computed});
      step_.requests.push_back(request.index);
      const bool decodes = n_new_[i] == 1 && request.n_computed >= request.n_prompt;
      step_.n_prompt_tokens += decodes ? 0 : n_new_[i];
      request.n_computed += n_new_[i];
      const bool emits = request.n_computed == request.n_total;
      step_.emits.push_back(emits);
      if (emits) {
        ++step_.shape.n_logit_rows;
        ++request.n_total;
      }
    }
    std::erase_if(running_, [this](const Simulated& request) {
      const bool done = request.n_total == request.n_limit;
      if (done) n_free_ += request.n_blocks;
      return done;
    });
    schedule_.steps.push_back(std::move(step_));
  }

  const EngineLimits limits_;
  int64_t n_free_;
  std::deque<Simulated> waiting_;
  std::vector<Simulated> running_;
  std::vector<int64_t> n_new_;  // of the step being made, by place in running_
  ScheduledStep step_;
  Schedule schedule_;
};

}  // namespace

Schedule simulate_schedule(const Workload& workload, const EngineLimits& limits, int64_t n_blocks) {
  return Simulation(workload, limits, n_blocks).run();
}

}  // namespace trimeter
