// For tests: the mean KLD of formats on the demo model against its own bf16 distribution, calibrated and scored with
// the project's own texts.
#pragma once
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "lab/evaluation_set.h"
#include "lab/subject.h"
#include "meters/distribution.h"
#include "model/forward_harness.h"
#include "tensor/logits.h"

namespace trimeter {

class QualityOfFormats {
 public:
  // Every `stride`-th passage is scored.
  QualityOfFormats(const std::filesystem::path& model, size_t stride)
      : subject_(read_subject(model)), blocks_(kLimits.max_model_len / kLimits.block_size) {
    const EvaluationSet set = read_evaluation_set(source_dir() / "data");
    for (const std::string& text : set.calibration) options_.calibration.push_back(subject_.encode_text(text));
    for (size_t i = 0; i < set.passages.size(); i += stride)
      passages_.push_back(subject_.encode_text(set.passages[i].text));
    std::iota(blocks_.begin(), blocks_.end(), 0);
    baseline_ = logits(format(dense_scheme(subject_.spec.dtype).info().name), options_);
  }

  const LoadOptions& options() const { return options_; }
  const Subject& subject() const { return subject_; }
  int64_t n_tokens() const { return static_cast<int64_t>(baseline_.size()) / subject_.spec.vocab_size; }
  const std::vector<float>& baseline() const { return baseline_; }  // logits [tokens, vocab]
  // Nats.
  double mean_kld(const Format& format, const LoadOptions& options) {
    const std::vector<float> got = logits(format, options);
    const auto vocab = static_cast<size_t>(subject_.spec.vocab_size);
    double sum = 0;
    for (size_t at = 0; at < got.size(); at += vocab) {
      const std::span<const float> b = std::span(baseline_).subspan(at, vocab), f = std::span(got).subspan(at, vocab);
      sum += kl_divergence(b, log_sum_exp(b), f, log_sum_exp(f));
    }
    return sum / static_cast<double>(n_tokens());
  }
  double mean_kld(const Format& format) { return mean_kld(format, options_); }

 private:
  static constexpr EngineLimits kLimits{
      .max_model_len = 512, .max_num_seqs = 64, .max_num_batched_tokens = 512, .block_size = 16};

  std::vector<float> logits(const Format& format, const LoadOptions& options) {
    const ModelWeights weights = load_weights(subject_.directory, subject_.spec, format, options, pool_);
    ForwardHarness model(weights, kLimits, pool_, active_isa(), std::ssize(blocks_));
    std::vector<float> all;
    for (const std::vector<int32_t>& tokens : passages_) {
      HarnessSeq seq{tokens, blocks_};
      const std::vector<float> some = model.score(seq, kLimits.max_num_batched_tokens);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

  ThreadPool pool_{2};
  Subject subject_;
  LoadOptions options_;
  std::vector<std::vector<int32_t>> passages_;
  std::vector<int32_t> blocks_;
  std::vector<float> baseline_;  // [tokens, vocab]
};

}  // namespace trimeter
