// What AWQ is for: on the demo model, with the project's own calibration texts and passages, it keeps the model's
// distribution better than nearest codes of the same grid.
#include <gtest/gtest.h>

#include <algorithm>

#include "lab/evaluation_set.h"
#include "lab/subject.h"
#include "meters/distribution.h"
#include "model/forward_harness.h"
#include "tensor/logits.h"

namespace trimeter {
namespace {

constexpr EngineLimits kLimits{
    .max_model_len = 512, .max_num_seqs = 64, .max_num_batched_tokens = 512, .block_size = 16};

TEST(AwqQuality, BeatsNearestCodesOfTheSameGridOnTheDemoModel) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "minutes of calibration: a question of quality, not of memory";
#endif
  const Subject subject = read_subject(source_dir() / "models/demo");
  const EvaluationSet set = read_evaluation_set(source_dir() / "data");
  LoadOptions options;
  for (const std::string& text : set.calibration) options.calibration.push_back(subject.encode_text(text));
  ThreadPool pool(2);
  std::vector<int32_t> blocks(kLimits.max_model_len / kLimits.block_size);
  std::iota(blocks.begin(), blocks.end(), 0);
  const Format formats[] = {format("bf16"), rtn_format(format("awq")), format("awq")};
  std::vector<ModelWeights> weights;
  std::vector<std::unique_ptr<ForwardHarness>> models;
  weights.reserve(std::size(formats));
  for (const Format& row : formats) {
    weights.push_back(load_weights(subject.directory, subject.spec, row, options, pool));
    models.push_back(std::make_unique<ForwardHarness>(weights.back(), kLimits, pool, active_isa(), std::ssize(blocks)));
  }

  double sum_rtn = 0, sum_awq = 0;
  int64_t n_tokens = 0;
  const auto vocab = static_cast<size_t>(subject.spec.vocab_size);
  for (size_t passage = 0; passage < set.passages.size(); passage += 4) {
    HarnessSeq seq{subject.encode_text(set.passages[passage].text), blocks};
    std::vector<float> logits[std::size(formats)];
    for (size_t i = 0; i < models.size(); ++i) logits[i] = models[i]->score(seq, kLimits.max_num_batched_tokens);
    for (size_t at = 0; at < logits[0].size(); at += vocab, ++n_tokens) {
      const auto row = [&](size_t model) { return std::span<const float>(logits[model]).subspan(at, vocab); };
      const auto kld = [&](size_t model) {
        return kl_divergence(row(0), log_sum_exp(row(0)), row(model), log_sum_exp(row(model)));
      };
      sum_rtn += kld(1);
      sum_awq += kld(2);
    }
  }
  ASSERT_GT(n_tokens, 1000);
  const double rtn = sum_rtn / static_cast<double>(n_tokens), awq = sum_awq / static_cast<double>(n_tokens);
  EXPECT_GT(awq, 0);
  EXPECT_LT(awq, 0.8 * rtn) << "mean KLD, nats: " << awq << " and " << rtn;  // 0.64 over all passages (decision 0003)
}

}  // namespace
}  // namespace trimeter
