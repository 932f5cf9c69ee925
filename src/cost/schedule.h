// The steps that the engine's scheduler would issue for a workload: first come first served, running requests first,
// one token budget for prefill and decode (chunked prefill), admission when there are blocks for all tokens that a
// request has, preemption by recomputation. No prefix cache: prompts of a workload differ.
#pragma once
#include <cstdint>
#include <vector>

#include "cost/workload.h"
#include "spec/ledger.h"

namespace trimeter {

struct ScheduledStep {
  StepShape shape;
  std::vector<int> requests;    // index of each sequence's request, as in shape.seqs
  std::vector<bool> emits;      // whether the sequence has a new token at the end of the step
  int64_t n_prompt_tokens = 0;  // of shape's new tokens: those of prompts (recomputed ones included)
};

struct Schedule {
  std::vector<ScheduledStep> steps;
  int64_t n_preemptions = 0;
  int64_t n_running_most = 0;      // requests in one step, at most
  bool limited_by_blocks = false;  // a request waited (or was put back) for want of blocks, not of budget or seats
};

// Throws Error(kBadArgument) for a request that can never run: longer than max_model_len, or than all blocks.
Schedule simulate_schedule(const Workload& workload, const EngineLimits& limits, int64_t n_blocks);

}  // namespace trimeter
