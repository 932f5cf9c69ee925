#include "engine/loop.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"

namespace trimeter {

struct EngineLoop::Scoring {
  std::vector<Sequence> sequences;  // in the caller's order
  size_t n_added = 0, n_done = 0;
  const Engine::ScoreSink& on_logits;
};

EngineLoop::EngineLoop(const EngineLimits& limits, int64_t n_blocks, GenerationLimits generation_limits,
                       TokenBytes token_bytes, StepRunner& runner)
    : limits_(limits),
      generation_limits_(std::move(generation_limits)),
      token_bytes_(std::move(token_bytes)),
      runner_(runner),
      pool_(n_blocks, limits.block_size),
      scheduler_(limits, pool_),
      sampler_(generation_limits_.vocab_size) {
  const auto n_rows = static_cast<size_t>(limits.max_num_batched_tokens);
  const auto n_seqs = static_cast<size_t>(limits.max_num_seqs);
  tokens_.reserve(n_rows);
  wanted_.reserve(n_rows);
  step_seqs_.reserve(n_seqs);
  logit_rows_.reserve(n_seqs);
  choices_.reserve(n_seqs);
  left_.reserve(n_seqs);
}

void EngineLoop::submit(Request request) {
  auto generation = std::make_unique<Generation>(std::move(request), generation_limits_, n_submitted_, now_s());
  ++n_submitted_;
  Sequence& sequence = generation->sequence();
  generations_.emplace(&sequence, std::move(generation));
  scheduler_.add(sequence);
}

Engine::StepResult EngineLoop::step() {
  if (!idle()) run_step();
  Engine::StepResult result;
  result.finished.swap(finished_);
  result.busy = !idle();
  return result;
}

void EngineLoop::score(std::span<const std::vector<int32_t>> sequences, int max_batch,
                       const Engine::ScoreSink& on_logits) {
  TM_CHECK(scoring_ == nullptr, "score() inside score()");
  Scoring scoring{std::vector<Sequence>(sequences.size()), 0, 0, on_logits};
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto n_tokens = static_cast<int64_t>(sequences[i].size());
    if (n_tokens < 1 || n_tokens > limits_.max_model_len)
      throw Error(Errc::kBadArgument, "score: sequence {} has {} tokens, wanted 1 to max_model_len = {}", i, n_tokens,
                  limits_.max_model_len);
    for (const int32_t token : sequences[i])
      if (token < 0 || token >= generation_limits_.vocab_size)
        throw Error(Errc::kBadArgument, "score: sequence {} has token {}, wanted 0 to {}", i, token,
                    generation_limits_.vocab_size - 1);
    Sequence& sequence = scoring.sequences[i];
    sequence.tokens = sequences[i];
    sequence.n_prompt = sequence.n_tokens();
    sequence.uses_prefix_cache = false;
  }
  const auto n_together = static_cast<size_t>(max_batch > 0 ? max_batch : limits_.max_num_seqs);
  scoring_ = &scoring;
  while (scoring.n_done < scoring.sequences.size()) {
    while (scoring.n_added < scoring.sequences.size() && scoring.n_added - scoring.n_done < n_together)
      scheduler_.add(scoring.sequences[scoring.n_added++]);
    run_step();
  }
  scoring_ = nullptr;
}

EngineStats EngineLoop::stats() const {
  EngineStats stats = stats_;
  stats.n_preemptions = scheduler_.counts().n_preemptions;
  stats.n_prefix_queries = scheduler_.counts().n_prefix_queries;
  stats.n_prefix_hits = scheduler_.counts().n_prefix_hits;
  return stats;
}

void EngineLoop::start_profile() {
  auto clock = std::make_unique<OpClock>();
  if (!runner_.time_operations(clock.get()))
    throw Error(Errc::kUnsupported, "a profile of operations: this device runs a step as one");
  clock_ = std::move(clock);
}

EngineProfile EngineLoop::take_profile() {
  TM_CHECK(clock_, "no profile was started");
  const EngineProfile profile = clock_->profile();
  runner_.time_operations(nullptr);
  clock_.reset();
  return profile;
}

void EngineLoop::run_step() {
  const double begin_s = now_s();
  if (clock_) clock_->begin_step();
  const StepPlan& plan = scheduler_.schedule();
  TM_CHECK(plan.n_tokens > 0, "{} sequences run, {} wait, and none can advance", scheduler_.n_running(),
           scheduler_.n_waiting());
  int64_t n_prompt_tokens = 0;
  for (const auto& [sequence, n_tokens] : plan.items) {
    const bool decodes = n_tokens == 1 && sequence->n_computed >= sequence->n_prompt;
    n_prompt_tokens += decodes ? 0 : n_tokens;
  }
  run_model(plan);
  scheduler_.commit();
  const int64_t n_generated_before = stats_.n_generated_tokens;
  for (size_t i = 0; i < wanted_.size(); i += static_cast<size_t>(limits_.max_num_seqs))
    deliver(std::span(wanted_).subspan(i, std::min(wanted_.size() - i, static_cast<size_t>(limits_.max_num_seqs))));

  const double end_s = now_s();
  if (clock_) clock_->end_step(n_prompt_tokens > 0);
  ++stats_.n_steps;
  stats_.n_prompt_tokens += n_prompt_tokens;
  (n_prompt_tokens > 0 ? stats_.prefill_s : stats_.decode_s) += end_s - begin_s;
  if (n_prompt_tokens == 0) stats_.n_decode_tokens += stats_.n_generated_tokens - n_generated_before;
  const double kv_usage = 1 - static_cast<double>(pool_.n_free()) / pool_.n_blocks();
  stats_log_.update(end_s, stats(), {scheduler_.n_running(), scheduler_.n_waiting(), kv_usage});
}

void EngineLoop::run_model(const StepPlan& plan) {
  tokens_.clear();
  step_seqs_.clear();
  wanted_.clear();
  for (const auto& [sequence, n_tokens] : plan.items) {
    const auto row = static_cast<int32_t>(tokens_.size());
    const int32_t begin = sequence->n_computed, end = begin + n_tokens;
    step_seqs_.push_back({row, n_tokens, begin, sequence->block_table});
    tokens_.insert(tokens_.end(), sequence->tokens.begin() + begin, sequence->tokens.begin() + end);
    for (int32_t position = std::max(begin, sequence->next_logits); position < end; ++position)
      wanted_.push_back({sequence, row + position - begin});
  }
  mark(Op::kRest);
  runner_.run({tokens_, step_seqs_});
}

void EngineLoop::deliver(std::span<const WantedRow> wanted) {
  left_.clear();
  deliver_chosen(wanted);
  if (left_.empty()) return;
  logit_rows_.clear();
  for (const WantedRow& w : left_) logit_rows_.push_back(w.row);
  const std::span<const float> logits = runner_.logits(logit_rows_);
  const auto vocab_size = static_cast<size_t>(generation_limits_.vocab_size);
  for (size_t i = 0; i < left_.size(); ++i) deliver_row(*left_[i].sequence, logits.subspan(i * vocab_size, vocab_size));
  mark(Op::kSampling);
}

// As far as the runner chooses; the others are left_.
void EngineLoop::deliver_chosen(std::span<const WantedRow> wanted) {
  logit_rows_.clear();
  choices_.clear();
  for (const WantedRow& w : wanted) {
    logit_rows_.push_back(w.row);
    const auto at = generations_.find(w.sequence);
    choices_.push_back(at != generations_.end() ? at->second->choice() : RowChoice{});
  }
  const std::span<const ChosenToken> chosen = runner_.choose(logit_rows_, choices_);
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (chosen.empty() || chosen[i].token < 0) {
      left_.push_back(wanted[i]);
      continue;
    }
    Sequence& sequence = *wanted[i].sequence;
    ++stats_.n_generated_tokens;
    if (!generations_.find(&sequence)->second->advance(chosen[i], token_bytes_, now_s())) finish_generation(sequence);
  }
}

void EngineLoop::finish_generation(const Sequence& sequence) {
  const auto at = generations_.find(&sequence);
  scheduler_.finish(at->second->sequence());
  finished_.push_back(at->second->take_output());
  generations_.erase(at);
}

void EngineLoop::deliver_row(Sequence& sequence, std::span<const float> logits) {
  if (const auto at = generations_.find(&sequence); at != generations_.end()) {
    ++stats_.n_generated_tokens;
    if (!at->second->advance(logits, sampler_, token_bytes_, now_s())) finish_generation(sequence);
    return;
  }
  const auto index = static_cast<int>(&sequence - scoring_->sequences.data());
  scoring_->on_logits(index, sequence.next_logits++, logits);
  if (sequence.next_logits < sequence.n_tokens()) return;
  scheduler_.finish(sequence);
  ++scoring_->n_done;
}

}  // namespace trimeter
