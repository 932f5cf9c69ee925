// schedule -> run -> postprocess: the engine without its model. One thread steps and submits.
#pragma once
#include <memory>
#include <unordered_map>

#include "api/engine.h"
#include "engine/block_pool.h"
#include "engine/generation.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/stats_log.h"
#include "engine/step_runner.h"

namespace trimeter {

class EngineLoop {
 public:
  // Requests without a seed draw by their ordinal: two engines given the same requests in the same order give the same
  // tokens. `runner` must outlive the loop.
  EngineLoop(const EngineLimits& limits, int64_t n_blocks, GenerationLimits generation_limits, TokenBytes token_bytes,
             StepRunner& runner);

  void submit(Request request);
  Engine::StepResult step();
  // Requests that are under way go on meanwhile; step() returns them afterwards.
  void score(std::span<const std::vector<int32_t>> sequences, int max_batch, const Engine::ScoreSink& on_logits);
  void reset_prefix_cache() { pool_.clear_cache(); }

  EngineStats stats() const;
  // Throws Error(kUnsupported) if the runner can't tell its operations apart.
  void start_profile();
  // Of the steps since start_profile(), which must have been.
  EngineProfile take_profile();
  bool idle() const { return scheduler_.n_running() + scheduler_.n_waiting() == 0; }
  int64_t overhead_bytes() const { return scheduler_.block_table_bytes() + sampler_.bytes(); }
  const BlockPool& pool() const { return pool_; }

 private:
  struct Scoring;
  struct WantedRow {
    Sequence* sequence;
    int32_t row;  // of the step
  };

  void run_step();
  void mark(Op op) {
    if (clock_) clock_->mark(op);
  }
  void run_model(const StepPlan& plan);
  void deliver(std::span<const WantedRow> wanted);
  void deliver_chosen(std::span<const WantedRow> wanted);
  void deliver_row(Sequence& sequence, std::span<const float> logits);
  void finish_generation(const Sequence& sequence);

  EngineLimits limits_;
  GenerationLimits generation_limits_;
  TokenBytes token_bytes_;
  StepRunner& runner_;
  BlockPool pool_;
  Scheduler scheduler_;
  Sampler sampler_;
  StatsLog stats_log_;
  EngineStats stats_;
  std::unique_ptr<OpClock> clock_;  // while a profile is taken
  uint64_t n_submitted_ = 0;

  std::unordered_map<const Sequence*, std::unique_ptr<Generation>> generations_;
  Scoring* scoring_ = nullptr;  // while score() runs
  std::vector<RequestOutput> finished_;

  std::vector<int32_t> tokens_;      // [max_num_batched_tokens] of the step
  std::vector<StepSeq> step_seqs_;   // [max_num_seqs]
  std::vector<WantedRow> wanted_;    // [max_num_batched_tokens]
  std::vector<int32_t> logit_rows_;  // [max_num_seqs]
  std::vector<RowChoice> choices_;   // [max_num_seqs]
  std::vector<WantedRow> left_;      // [max_num_seqs]: whose logits are asked for
};

}  // namespace trimeter
