#include "meters/quality.h"

#include <algorithm>
#include <cmath>

#include "base/stats.h"
#include "meters/garbage.h"
#include "meters/token_scores.h"

namespace trimeter {
namespace {

RecordKld summarise_kld(std::span<const double> kld) {
  return {.mean = mean(kld),
          .p50 = quantile(kld, 0.5),
          .p90 = quantile(kld, 0.9),
          .p95 = quantile(kld, 0.95),
          .p99 = quantile(kld, 0.99),
          .p999 = quantile(kld, 0.999),
          .max = *std::max_element(kld.begin(), kld.end())};
}

RecordQuality summarise(const TokenScores& format, const TokenScores& baseline, std::span<const size_t> sizes) {
  RecordQuality quality;
  const size_t n = format.nll.size();
  std::vector<double> nll_difference(n), delta_p_squared(n);
  for (size_t i = 0; i < n; ++i) {
    nll_difference[i] = format.nll[i] - baseline.nll[i];
    delta_p_squared[i] = format.delta_p[i] * format.delta_p[i];
  }
  quality.perplexity = std::exp(mean(format.nll));
  quality.perplexity_se = quality.perplexity * clustered_standard_error(format.nll, sizes);
  quality.perplexity_ratio = std::exp(mean(nll_difference));
  quality.perplexity_ratio_se = quality.perplexity_ratio * clustered_standard_error(nll_difference, sizes);
  quality.tokens_scored = static_cast<int64_t>(n);
  quality.kld = summarise_kld(format.kld);
  quality.top1_agreement =
      static_cast<double>(std::count(format.same_top1.begin(), format.same_top1.end(), true)) / static_cast<double>(n);
  quality.delta_p_mean = mean(format.delta_p);
  quality.delta_p_rms = std::sqrt(mean(delta_p_squared));
  return quality;
}

std::vector<RequestOutput> answer(Engine& engine, const QualityWorkload& workload) {
  engine.reset_prefix_cache();
  std::vector<Request> requests(workload.prompts.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    requests[i].id = std::to_string(i);
    requests[i].prompt = workload.prompts[i].tokens;
    requests[i].sampling.temperature = 0;
    requests[i].sampling.max_tokens = workload.max_tokens;
  }
  return engine.generate(std::move(requests));
}

std::optional<int64_t> first_divergence(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto [at, other] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  if (at == a.end() && other == b.end()) return std::nullopt;
  return at - a.begin();
}

void add_outputs(const std::vector<RequestOutput>& answers, const std::vector<RequestOutput>& baseline,
                 const QualityWorkload& workload, RecordQuality& quality) {
  for (size_t i = 0; i < answers.size(); ++i) {
    const std::string reason = garbage_reason(answers[i].text, answers[i].tokens);
    quality.outputs.push_back({.prompt = workload.prompts[i].text,
                               .text = answers[i].text,
                               .first_divergence = first_divergence(answers[i].tokens, baseline[i].tokens),
                               .garbage = !reason.empty(),
                               .garbage_reason = reason});
    quality.n_garbage += reason.empty() ? 0 : 1;
  }
}

}  // namespace

QualityReport measure_quality(std::span<const NamedEngine> engines, const QualityWorkload& workload,
                              const MeterProgress& progress) {
  std::vector<Scorer> scorers;
  for (const NamedEngine& named : engines) scorers.push_back({named.format, named.engine, 0});
  if (!engines.empty()) scorers.push_back({engines[0].format + " unbatched", engines[0].engine, 1});
  const std::vector<TokenScores> scores = score_passages(scorers, workload.passages, progress);

  std::vector<size_t> sizes;  // scored tokens of each passage
  for (const std::vector<int32_t>& passage : workload.passages) sizes.push_back(passage.size() - 1);
  QualityReport report;
  report.noise_floor = summarise(scores.back(), scores[0], sizes);
  std::vector<RequestOutput> baseline;
  const auto n_engines = static_cast<int64_t>(engines.size());
  if (progress) progress("outputs", 0, n_engines);
  for (size_t i = 0; i < engines.size(); ++i) {
    FormatQuality format{engines[i].format, summarise(scores[i], scores[0], sizes)};
    std::vector<RequestOutput> answers = answer(*engines[i].engine, workload);
    if (i == 0) baseline = answers;
    add_outputs(answers, baseline, workload, format.quality);
    report.formats.push_back(std::move(format));
    if (progress) progress("outputs", static_cast<int64_t>(i) + 1, n_engines);
  }
  return report;
}

}  // namespace trimeter
