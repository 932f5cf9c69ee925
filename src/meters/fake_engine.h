// For tests: an engine whose next-token logits are a row of a table, chosen by the last token alone.
#pragma once
#include <algorithm>
#include <chrono>
#include <deque>
#include <thread>
#include <utility>

#include "api/engine.h"
#include "base/error.h"

namespace trimeter {

class FakeEngine : public Engine {
 public:
  // The times it tells, whatever it really took.
  static constexpr double kArrivalS = 1000, kPrefillS = 0.25, kDecodeStepS = 0.125;

  // logits[last token][next token]
  explicit FakeEngine(std::vector<std::vector<float>> logits, std::vector<std::string>* journal = nullptr,
                      std::string name = "")
      : logits_(std::move(logits)), journal_(journal), name_(std::move(name)) {
    info_.vocab_size = static_cast<int32_t>(logits_.size());
    info_.max_model_len = 64;
  }

  // Added to the logit of token 0 in a batch of more than one: a kernel that depends on its batch.
  void set_batch_error(float error) { batch_error_ = error; }
  void set_eos(int32_t token) { eos_ = token; }
  // How long the first step of a run really takes.
  void set_prefill_sleep(std::chrono::milliseconds sleep) { prefill_sleep_ = sleep; }

  const EngineInfo& info() const override { return info_; }
  EngineStats stats() const override { return stats_; }
  std::vector<int32_t> encode(std::string_view text, bool) const override {
    std::vector<int32_t> tokens;
    for (const char c : text) tokens.push_back(c - 'a');
    return tokens;
  }
  std::string decode(std::span<const int32_t> tokens, bool) const override {
    std::string text;
    for (const int32_t token : tokens) text.push_back(static_cast<char>('a' + token));
    return text;
  }
  void submit(Request request) override {
    RequestOutput output;
    output.id = request.id;
    output.n_prompt_tokens = static_cast<int32_t>(request.prompt.size());
    output.arrival_s = kArrivalS;
    running_.push_back({std::move(request), std::move(output)});
  }
  void reset_prefix_cache() override { note("reset"); }
  void start_profile() override { note("profile"); }
  EngineProfile take_profile() override {
    note("taken");
    return {{1, kPrefillS, {{"rest", 1, kPrefillS}}}, {}};
  }

  // The first step takes all prompts and gives every request its first token; each later step, one token more.
  StepResult step() override {
    StepResult result;
    const bool is_prefill = !running_.empty() && running_.front().second.tokens.empty();
    if (is_prefill) {
      note("run");
      std::this_thread::sleep_for(prefill_sleep_);
    }
    time_s_ = is_prefill ? kArrivalS + kPrefillS : time_s_ + kDecodeStepS;
    (is_prefill ? stats_.prefill_s : stats_.decode_s) += is_prefill ? kPrefillS : kDecodeStepS;
    for (auto& [request, output] : running_) {
      if (is_prefill) stats_.n_prompt_tokens += output.n_prompt_tokens;
      if (!is_prefill) ++stats_.n_decode_tokens;
      const int32_t last = output.tokens.empty() ? request.prompt.back() : output.tokens.back();
      const std::vector<float>& row = logits_[static_cast<size_t>(last)];
      output.tokens.push_back(static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
      output.token_s.push_back(time_s_);
      TM_CHECK(request.sampling.temperature == 0, "not greedy");
      if (output.tokens.back() == eos_ && !request.sampling.ignore_eos) output.finish = FinishReason::kStop;
      if (static_cast<int32_t>(output.tokens.size()) == request.sampling.max_tokens)
        output.finish = FinishReason::kLength;
    }
    std::erase_if(running_, [&](auto& pair) {
      if (pair.second.finish == FinishReason::kNone) return false;
      pair.second.text = decode(pair.second.tokens, true);
      result.finished.push_back(std::move(pair.second));
      return true;
    });
    result.busy = !running_.empty();
    return result;
  }

  // The last sequence first: a meter must not count on one order.
  void score(std::span<const std::vector<int32_t>> sequences, int max_batch, const ScoreSink& on_logits) override {
    const bool is_batched = max_batch != 1 && sequences.size() > 1;
    for (size_t s = sequences.size(); s-- > 0;)
      for (size_t i = 0; i < sequences[s].size(); ++i) {
        std::vector<float> row = logits_[static_cast<size_t>(sequences[s][i])];
        if (is_batched) row[0] += batch_error_;
        on_logits(static_cast<int>(s), static_cast<int>(i), row);
      }
  }

  EngineInfo info_;

 private:
  void note(const char* what) {
    if (journal_ != nullptr) journal_->push_back(name_ + " " + what);
  }

  std::vector<std::vector<float>> logits_;
  std::vector<std::string>* journal_;
  std::string name_;
  std::deque<std::pair<Request, RequestOutput>> running_;
  EngineStats stats_;
  float batch_error_ = 0;
  int32_t eos_ = -1;
  double time_s_ = 0;
  std::chrono::milliseconds prefill_sleep_{0};
};

}  // namespace trimeter
