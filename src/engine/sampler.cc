#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "engine/mix.h"
#include "kernels/draw_rule.h"
#include "tensor/logits.h"

namespace trimeter {
namespace {

constexpr double kGreedyBelow = 1e-5;  // vLLM: _SAMPLING_EPS

// The likeliest token, where there is one.
int32_t likeliest(std::span<const float> logits) {
  const int32_t token = argmax(logits);
  if (token >= 0) return token;
  const auto bad = std::ranges::find_if(logits, [](float x) { return !std::isfinite(x); });
  throw Error(Errc::kUnsupported, "token {}: wanted a finite logit, got {}", bad - logits.begin(),
              std::isnan(*bad) ? "NaN" : "an infinity");
}

}  // namespace

double uniform_draw(uint64_t key, int64_t n_generated) {
  return static_cast<double>(mix64(key ^ mix64(static_cast<uint64_t>(n_generated))) >> 11) * 0x1p-53;
}

bool is_greedy(const SamplingParams& params) { return params.temperature < kGreedyBelow; }

bool takes_largest(const SamplingParams& params) {
  return is_greedy(params) && params.repetition_penalty == 1.0 && params.logprobs < 0;
}

void check_sampling_params(const SamplingParams& p) {
  const auto want = [](bool ok, std::string_view what, double got, std::string_view wanted) {
    if (!ok) throw Error(Errc::kBadArgument, "{} = {}: wanted {}", what, got, wanted);
  };
  want(p.temperature >= 0 && std::isfinite(p.temperature), "temperature", p.temperature, "a number >= 0");
  want(p.top_k >= -1, "top_k", p.top_k, "-1, 0 (all) or a count");
  want(p.top_p > 0 && p.top_p <= 1, "top_p", p.top_p, "a number in (0, 1]");
  want(p.min_p >= 0 && p.min_p <= 1, "min_p", p.min_p, "a number in [0, 1]");
  want(p.repetition_penalty > 0 && std::isfinite(p.repetition_penalty), "repetition_penalty", p.repetition_penalty,
       "a number > 0");
  want(p.max_tokens >= 1, "max_tokens", p.max_tokens, "at least 1");
  want(p.logprobs >= -1, "logprobs", p.logprobs, "-1 (none) or a count");
  for (const std::string& stop : p.stop)
    if (stop.empty()) throw Error(Errc::kBadArgument, "stop: an empty string would stop everything");
}

Sampler::Sampler(int32_t vocab_size)
    : penalised_(static_cast<size_t>(vocab_size)), candidates_(static_cast<size_t>(vocab_size)) {}

int32_t Sampler::sample(std::span<const float> logits, const SamplingParams& params, std::span<const int32_t> tokens,
                        double uniform) {
  if (params.repetition_penalty != 1.0) {
    std::ranges::copy(logits, penalised_.begin());
    const auto penalty = static_cast<float>(params.repetition_penalty);
    for (const int32_t token : tokens) {  // from the raw logit each time, so that a second occurrence changes nothing
      penalised_[static_cast<size_t>(token)] = penalised_logit(logits[static_cast<size_t>(token)], penalty);
    }
    logits = penalised_;
  }
  return is_greedy(params) ? likeliest(logits) : draw(logits, params, uniform);
}

int32_t Sampler::draw(std::span<const float> logits, const SamplingParams& params, double uniform) {
  const auto at = [&](int32_t token) { return logits[static_cast<size_t>(token)]; };
  const int32_t first = likeliest(logits);
  const double top = at(first);
  const auto weight = [&](int32_t token) { return std::exp((at(token) - top) / params.temperature); };
  const auto sum_weights = [&](auto begin, auto end) {
    double sum = 0;
    for (; begin != end; ++begin) sum += weight(*begin);
    return sum;
  };
  const auto begin = candidates_.begin();
  auto end = begin;
  for (int32_t token = 0; token < static_cast<int32_t>(logits.size()); ++token)
    if (params.min_p == 0 || weight(token) >= params.min_p) *end++ = token;

  if (params.top_k > 0 && params.top_k < end - begin) {
    const auto kth = begin + params.top_k - 1;
    std::nth_element(begin, kth, end, [&](int32_t a, int32_t b) { return at(a) > at(b); });
    const float least = at(*kth);
    end = std::partition(kth, end, [&](int32_t token) { return at(token) >= least; });
  }
  if (params.top_p < 1) {  // a heap, since few of many are usually kept: they gather behind heap_end
    const auto less_likely = [&](int32_t a, int32_t b) { return at(a) != at(b) ? at(a) < at(b) : a > b; };
    const double wanted = params.top_p * sum_weights(begin, end);
    auto heap_end = end;
    std::make_heap(begin, heap_end, less_likely);
    for (double kept = 0; heap_end != begin && kept < wanted; kept += weight(*heap_end))
      std::pop_heap(begin, heap_end--, less_likely);
    end = std::move(heap_end, end, begin);
  }

  std::sort(begin, end);                                   // the order in which a filter left them must not matter
  const double drawn = uniform * sum_weights(begin, end);  // below the sum as uniform <= 1 - 2^-53
  double sum = 0;
  for (auto token = begin; token != end; ++token)
    if ((sum += weight(*token)) > drawn) return *token;
  return first;  // a sum that rounding took below what was drawn
}

void Sampler::logprobs(std::span<const float> logits, int32_t sampled, int32_t n, std::vector<TokenLogprob>& result) {
  const double normaliser = log_sum_exp(logits);
  const auto at = [&](int32_t token) { return logits[static_cast<size_t>(token)]; };
  const auto add = [&](int32_t token) { result.push_back({token, static_cast<float>(at(token) - normaliser)}); };
  const auto n_top = std::min<int64_t>(n, static_cast<int64_t>(logits.size()));
  result.reserve(static_cast<size_t>(n_top) + 1);
  add(sampled);
  if (n_top == 0) return;
  std::iota(candidates_.begin(), candidates_.end(), 0);
  std::partial_sort(candidates_.begin(), candidates_.begin() + n_top, candidates_.end(),
                    [&](int32_t a, int32_t b) { return at(a) != at(b) ? at(a) > at(b) : a < b; });
  std::for_each_n(candidates_.begin(), n_top, add);
}

}  // namespace trimeter
