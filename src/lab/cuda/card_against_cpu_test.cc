// The engine on a card against the engine on the CPU, on the demo model: the same tokens in fp32, and in every format
// the quality that the CPU's emulation says.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/cuda/needs_gpu.h"
#include "base/log.h"
#include "engine/engine.h"
#include "kernels/draw_rule.h"
#include "lab/evaluation_set.h"
#include "lab/subject.h"
#include "meters/quality.h"
#include "model/forward_harness.h"
#include "schemes/gpu_plan.h"
#include "spec/format.h"

namespace trimeter {
namespace {

[[maybe_unused]] const bool kQuiet = (init_logging("warning"), true);

class CardAgainstCpu : public testing::Test {
 protected:
  CardAgainstCpu()
      : subject_(read_subject(source_dir() / "models/demo")), set_(read_evaluation_set(source_dir() / "data")) {}

  std::unique_ptr<Engine> engine(const std::string& device, const std::string& format,
                                 const EngineLimits& limits = {.max_num_seqs = 32, .max_num_batched_tokens = 512}) {
    EngineOptions options;
    options.max_model_len = limits.max_model_len;
    options.max_num_seqs = limits.max_num_seqs;
    options.max_num_batched_tokens = limits.max_num_batched_tokens;
    options.model = subject_.directory;
    options.device = device;
    options.format = format;
    options.calibration = set_.calibration;
    options.device_memory_bytes = device == "cpu" ? int64_t{64} << 20 : int64_t{4} << 30;
    options.threads = threads_;
    return make_engine(options);
  }

  std::vector<QualityPrompt> prompts(size_t n) const {
    std::vector<QualityPrompt> result;
    for (const EvaluationPrompt& prompt : interleaved_prompts(set_, n))
      result.push_back({prompt.prompt, prompt.chat ? subject_.encode_chat({{"user", prompt.prompt}})
                                                   : subject_.encode_text(prompt.prompt)});
    return result;
  }
  std::vector<std::vector<int32_t>> passages(size_t every) const {
    std::vector<std::vector<int32_t>> result;
    for (size_t i = 0; i < set_.passages.size(); i += every)
      result.push_back(subject_.encode_text(set_.passages[i].text));
    return result;
  }
  std::vector<RequestOutput> greedy(Engine& engine, int32_t max_tokens, size_t n_prompts = 24) const {
    std::vector<Request> requests;
    for (const QualityPrompt& prompt : prompts(n_prompts))
      requests.push_back(
          {prompt.text, prompt.tokens, {.temperature = 0, .max_tokens = max_tokens, .ignore_eos = true}, {}});
    return engine.generate(std::move(requests));
  }

  // Every token that decoding chooses has the largest logit of a score of the same tokens, or nearly so.
  void expect_chosen_by_scores(Engine& card, size_t n_prompts, int32_t max_tokens, float tolerance) const {
    const std::vector<RequestOutput> outputs = greedy(card, max_tokens, n_prompts);
    const std::vector<QualityPrompt> asked = prompts(n_prompts);
    ASSERT_EQ(outputs.size(), n_prompts);
    for (size_t i = 0; i < outputs.size(); ++i) {
      std::vector<int32_t> sequence = asked[i].tokens;
      const size_t n_prompt = sequence.size();
      size_t n_compared = 0;
      sequence.insert(sequence.end(), outputs[i].tokens.begin(), outputs[i].tokens.end());
      card.score({&sequence, 1}, 1, [&](int, int position, std::span<const float> logits) {
        const auto at = static_cast<size_t>(position) + 1;
        if (at < n_prompt || at >= sequence.size()) return;
        const float chosen = logits[static_cast<size_t>(sequence[at])], best = *std::ranges::max_element(logits);
        EXPECT_LT(best - chosen, tolerance) << outputs[i].id << " at " << at;
        ++n_compared;
      });
      EXPECT_EQ(n_compared, outputs[i].tokens.size()) << outputs[i].id;
      EXPECT_GT(n_compared, 0u) << outputs[i].id;
    }
  }

  Subject subject_;
  EvaluationSet set_;
  std::shared_ptr<ThreadPool> threads_ = std::make_shared<ThreadPool>();
};

// f32 sums in another order: where two tokens part, their logits are that close on the CPU.
TEST_F(CardAgainstCpu, GreedyTokensInFp32AreTheSameUpToATie) {
  TM_NEEDS_GPU();
  constexpr float kTie = 1e-3f;
  const auto cpu = engine("cpu", "fp32"), card = engine("cuda", "fp32");
  const std::vector<RequestOutput> want = greedy(*cpu, 64), got = greedy(*card, 64);
  size_t n_same = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const auto [a, b] = std::ranges::mismatch(want[i].tokens, got[i].tokens);
    if (a == want[i].tokens.end()) {
      ++n_same;
      continue;
    }
    std::vector<int32_t> sequence = prompts(24)[i].tokens;
    sequence.insert(sequence.end(), want[i].tokens.begin(), a);
    float gap = 0;
    cpu->score({&sequence, 1}, 1, [&](int, int position, std::span<const float> logits) {
      if (position + 1 == static_cast<int>(sequence.size()))
        gap = std::fabs(logits[static_cast<size_t>(*a)] - logits[static_cast<size_t>(*b)]);
    });
    EXPECT_LT(gap, kTie) << want[i].id << " at token " << a - want[i].tokens.begin();
  }
  std::printf("[ fp32 ] %zu of %zu outputs of 64 tokens are the same to the end\n", n_same, want.size());
  EXPECT_GE(n_same, want.size() * 3 / 4);
}

// All that a request may ask of its logits, in one batch.
std::vector<Request> sampled(const std::vector<QualityPrompt>& prompts, int32_t max_tokens) {
  const SamplingParams kinds[] = {{.temperature = 0},
                                  {.temperature = 1},
                                  {.temperature = 0.7, .top_k = 20},
                                  {.temperature = 0.8, .top_p = 0.9, .logprobs = 3},
                                  {.temperature = 1.5, .min_p = 0.05},
                                  {.temperature = 0, .repetition_penalty = 1.3, .logprobs = 0},
                                  {.temperature = 1, .top_k = 50, .top_p = 0.95, .repetition_penalty = 1.1},
                                  {.temperature = 1, .logprobs = kMostDrawLogprobs + 5}};
  std::vector<Request> requests;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Request& request =
        requests.emplace_back(Request{prompts[i].text, prompts[i].tokens, kinds[i % std::size(kinds)], {}});
    request.sampling.seed = i;
    request.sampling.max_tokens = max_tokens;
    request.sampling.ignore_eos = true;
  }
  return requests;
}

// Logits a rounding apart seldom lie on both sides of what is drawn.
TEST_F(CardAgainstCpu, SampledTokensInFp32AreTheSame) {
  TM_NEEDS_GPU();
  const auto cpu = engine("cpu", "fp32"), card = engine("cuda", "fp32");
  const std::vector<RequestOutput> want = cpu->generate(sampled(prompts(32), 48)),
                                   got = card->generate(sampled(prompts(32), 48));
  size_t n_same = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    const auto n =
        static_cast<size_t>(std::ranges::mismatch(want[i].tokens, got[i].tokens).in1 - want[i].tokens.begin());
    n_same += n == want[i].tokens.size();
    if (n < want[i].tokens.size()) std::printf("[ draws ] request %zu parts after %zu tokens\n", i, n);
    ASSERT_EQ(got[i].logprobs.size(), want[i].logprobs.size()) << i;
    for (size_t t = 0; t < std::min(n, want[i].logprobs.size()); ++t) {
      const auto &a = want[i].logprobs[t], &b = got[i].logprobs[t];
      ASSERT_EQ(a.size(), b.size()) << i << " at " << t;
      EXPECT_EQ(a[0].token, b[0].token) << i << " at " << t;
      for (size_t j = 0; j < a.size(); ++j)
        EXPECT_NEAR(a[j].logprob, b[j].logprob, 1e-3) << i << " at " << t << ", " << j;
    }
  }
  std::printf("[ draws ] %zu of %zu outputs of 48 tokens are the same to the end\n", n_same, want.size());
  EXPECT_GE(n_same, want.size() * 7 / 8);
}

// The card's draws against the sampler's from the card's own logits: those go to the host for that many logprobs.
TEST_F(CardAgainstCpu, DrawsAreTheSamplers) {
  TM_NEEDS_GPU();
  const auto card = engine("cuda", "bf16");
  std::vector<Request> on_host = sampled(prompts(32), 48);
  for (Request& request : on_host) request.sampling.logprobs = kMostDrawLogprobs + 1;
  const std::vector<RequestOutput> got = card->generate(sampled(prompts(32), 48));
  card->reset_prefix_cache();
  const std::vector<RequestOutput> want = card->generate(std::move(on_host));
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(got[i].tokens, want[i].tokens) << i;
}

// A decode step runs as a graph padded to a size, a score as one prompt: the same logits but for rounding.
TEST_F(CardAgainstCpu, GraphsSayWhatAPromptSays) {
  TM_NEEDS_GPU();
  const auto card = engine("cuda", "fp32", {.max_num_seqs = 5, .max_num_batched_tokens = 512});
  expect_chosen_by_scores(*card, 24, 24, 1e-3f);
}

// Tensor cores round what prompts multiply in attention to bf16. Few enough launches for racecheck.
class SmallGraphs : public CardAgainstCpu, public testing::WithParamInterface<const char*> {};
TEST_P(SmallGraphs, SayWhatAPromptSays) {
  TM_NEEDS_GPU();
  const auto card = engine("cuda", GetParam(), {.max_model_len = 128, .max_num_seqs = 2, .max_num_batched_tokens = 64});
  expect_chosen_by_scores(*card, 2, 4, 0.1f);
}
// One token alone has kernels of its own: products that make their input and their activation themselves.
TEST_P(SmallGraphs, OneSequenceSaysWhatAPromptSays) {
  TM_NEEDS_GPU();
  const auto card = engine("cuda", GetParam(), {.max_model_len = 128, .max_num_seqs = 1, .max_num_batched_tokens = 64});
  expect_chosen_by_scores(*card, 2, 4, 0.1f);
}
INSTANTIATE_TEST_SUITE_P(Formats, SmallGraphs, testing::Values("bf16", "fp8", "w4a16", "bf16+kv-int8"));

TEST_F(CardAgainstCpu, TheLedgerHoldsWithinOnePercent) {
  TM_NEEDS_GPU();
  for (const char* format_name : {"bf16", "fp8", "w4a16", "bf16+kv-int8"}) {
    EngineOptions options;
    options.model = subject_.directory;
    options.device = "cuda";
    options.format = format_name;
    options.device_memory_bytes = int64_t{8} << 30;
    options.calibration = set_.calibration;
    options.threads = threads_;
    const ModelSpec& spec = subject_.spec;
    const Format format = engine_format(options, spec);
    const EngineLimits limits = engine_limits(options, spec);
    const DeviceBudget budget = device_budget(options);
    const MemoryBreakdown predicted =
        memory_ledger(spec, format, limits, engine_target(options), budget.device_memory_bytes, budget.utilization,
                      budget.runtime_bytes);
    const auto engine = make_engine(options);
    const MemoryBreakdown& measured = engine->info().memory;
    EXPECT_EQ(measured.weights_bytes, predicted.weights_bytes) << format_name;
    EXPECT_EQ(measured.activation_bytes, predicted.activation_bytes) << format_name;
    const double blocks = static_cast<double>(engine->info().kv_blocks),
                 want = static_cast<double>(predicted.kv_bytes / engine->info().block_bytes);
    std::printf("[ %-12s ] blocks %.0f, predicted %.0f (%+.3f%%)\n", format_name, blocks, want,
                100 * (blocks / want - 1));
    EXPECT_NEAR(blocks / want, 1, 0.01) << format_name;
  }
}

// KLD of the card's logits from those of the CPU in the same format, beside what the format itself costs.
TEST_F(CardAgainstCpu, EveryFormatHasTheQualityOfItsEmulation) {
  TM_NEEDS_GPU();
  constexpr double kAttentionRounding = 5e-5;  // the card's attention rounds queries and weights to bf16
  const int compute_capability = current_gpu().compute_capability;
  std::vector<std::string> names;
  for (const Format& row : all_formats())
    if (gpu_refuses(scheme(row.scheme).info(), compute_capability).empty() && row.container != "gguf")
      names.push_back(row.name);
  for (const KvFormat& kv : all_kv_formats()) names.push_back("bf16+" + kv.name);
  QualityWorkload workload;
  workload.passages = passages(8);
  const auto baseline = engine("cpu", "bf16");
  for (const std::string& name : names) {
    const auto cpu = engine("cpu", name), card = engine("cuda", name);
    const NamedEngine same[] = {{"cpu", cpu.get()}, {"cuda", card.get()}};
    const NamedEngine against[] = {{"bf16", baseline.get()}, {"cpu", cpu.get()}, {"cuda", card.get()}};
    const QualityReport apart = measure_quality(same, workload), cost = measure_quality(against, workload);
    const RecordQuality &on_cpu = cost.formats[1].quality, &on_card = cost.formats[2].quality;
    const double kld = apart.formats[1].quality.kld.mean;
    std::printf(
        "[ %-12s ] KLD card from CPU %.2e; from bf16: CPU %.5f, card %.5f; perplexity x %.4f, x %.4f; top-1 %.4f, "
        "%.4f\n",
        name.c_str(), kld, on_cpu.kld.mean, on_card.kld.mean, on_cpu.perplexity_ratio, on_card.perplexity_ratio,
        on_cpu.top1_agreement, on_card.top1_agreement);
    std::fflush(stdout);
    // Sums in another order move values across rounding borders: as if each had been rounded by itself, so that the two
    // are no further from each other than from what they round. What the format costs is the same.
    EXPECT_LT(kld, kAttentionRounding + on_cpu.kld.mean) << name;
    EXPECT_NEAR(on_card.kld.mean, on_cpu.kld.mean, kAttentionRounding + 0.1 * on_cpu.kld.mean) << name;
    EXPECT_NEAR(on_card.perplexity_ratio, on_cpu.perplexity_ratio, 0.005) << name;
  }
}

}  // namespace
}  // namespace trimeter
