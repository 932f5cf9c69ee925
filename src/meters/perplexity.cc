#include "meters/perplexity.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/stats.h"
#include "meters/distribution.h"

namespace trimeter {

Perplexity measure_perplexity(Engine& engine, std::span<const int32_t> tokens, int32_t context,
                              const MeterProgress& progress) {
  if (context < 2 || context > engine.info().max_model_len)
    throw Error(Errc::kBadArgument, "perplexity: context: wanted 2 to {} tokens, got {}", engine.info().max_model_len,
                context);
  if (tokens.size() < 2)
    throw Error(Errc::kBadArgument, "perplexity: text: wanted at least 2 tokens, got {}", tokens.size());

  std::vector<std::vector<int32_t>> windows;
  std::vector<size_t> first_score;  // of each window, in nll
  size_t n_scores = 0;
  for (size_t begin = 0; begin + 1 < tokens.size(); begin += static_cast<size_t>(context)) {
    const auto window = tokens.subspan(begin, std::min(static_cast<size_t>(context), tokens.size() - begin));
    windows.emplace_back(window.begin(), window.end());
    first_score.push_back(n_scores);
    n_scores += window.size() - 1;
  }

  std::vector<double> nll(n_scores);
  size_t n_scored = 0;
  int64_t n_windows_done = 0;
  const auto n_windows = static_cast<int64_t>(windows.size());
  if (progress) progress("perplexity", 0, n_windows);
  engine.score(windows, 0, [&](int sequence, int position, std::span<const float> logits) {
    const std::vector<int32_t>& window = windows[static_cast<size_t>(sequence)];
    const size_t next = static_cast<size_t>(position) + 1;
    if (next == window.size()) {
      if (progress) progress("perplexity", ++n_windows_done, n_windows);
      return;
    }
    const double value = log_sum_exp(logits) - logits[static_cast<size_t>(window[next])];
    if (!std::isfinite(value))
      throw Error(Errc::kUnsupported, "perplexity: window {}, position {}: wanted finite logits, got {}", sequence,
                  position, value);
    nll[first_score[static_cast<size_t>(sequence)] + next - 1] = value;
    ++n_scored;
  });
  TM_CHECK(n_scored == n_scores, "{} of {} tokens scored", n_scored, n_scores);

  Perplexity result;
  result.nll = mean(nll);
  result.perplexity = std::exp(result.nll);
  if (windows.size() > 1) {
    std::vector<size_t> sizes;
    for (const std::vector<int32_t>& window : windows) sizes.push_back(window.size() - 1);
    result.perplexity_se = result.perplexity * clustered_standard_error(nll, sizes);
  }
  result.tokens_scored = static_cast<int64_t>(n_scores);
  result.windows = n_windows;
  return result;
}

}  // namespace trimeter
