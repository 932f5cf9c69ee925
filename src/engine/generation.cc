#include "engine/generation.h"

#include <algorithm>

#include "base/error.h"
#include "engine/mix.h"

namespace trimeter {
namespace {

// A request without a seed must not share its draws with one that has its ordinal as a seed.
constexpr uint64_t kUnseeded = 0x756e736565646564u;

bool contains(const std::vector<int32_t>& tokens, int32_t token) {
  return std::ranges::find(tokens, token) != tokens.end();
}

}  // namespace

Generation::Generation(Request request, const GenerationLimits& limits, uint64_t ordinal, double now_s)
    : limits_(limits), request_(std::move(request)), text_(request_.sampling.stop) {
  const SamplingParams& sampling = request_.sampling;
  const auto n_prompt = static_cast<int64_t>(request_.prompt.size());
  check_sampling_params(sampling);
  if (n_prompt == 0) throw Error(Errc::kBadArgument, "request '{}': the prompt is empty", request_.id);
  if (n_prompt >= limits.max_model_len)
    throw Error(Errc::kBadArgument,
                "request '{}': the prompt has {} tokens; with one token to generate at most {} fit max_model_len = {}",
                request_.id, n_prompt, limits.max_model_len - 1, limits.max_model_len);
  for (const int32_t token : request_.prompt)
    if (token < 0 || token >= limits.vocab_size)
      throw Error(Errc::kBadArgument, "request '{}': prompt token {}, wanted 0 to {}", request_.id, token,
                  limits.vocab_size - 1);

  const int64_t n_most = std::min<int64_t>(n_prompt + sampling.max_tokens, limits.max_model_len);
  sequence_.tokens.reserve(static_cast<size_t>(n_most));
  sequence_.tokens = request_.prompt;
  sequence_.n_prompt = sequence_.n_tokens();
  sequence_.next_logits = sequence_.n_tokens() - 1;
  output_.id = request_.id;
  output_.tokens.reserve(static_cast<size_t>(n_most - n_prompt));
  output_.token_s.reserve(static_cast<size_t>(n_most - n_prompt));
  output_.n_prompt_tokens = sequence_.n_prompt;
  output_.arrival_s = now_s;
  key_ = mix64(sampling.seed ? *sampling.seed : mix64(ordinal ^ kUnseeded));
}

bool Generation::advance(std::span<const float> logits, Sampler& sampler, const TokenBytes& token_bytes, double now_s) {
  const SamplingParams& sampling = request_.sampling;
  const int32_t token = sample(logits, sampler);
  if (sampling.logprobs >= 0) sampler.logprobs(logits, token, sampling.logprobs, output_.logprobs.emplace_back());
  return append(token, token_bytes, now_s);
}

RowChoice Generation::choice() const {
  return {&request_.sampling, sequence_.tokens, uniform_draw(key_, static_cast<int64_t>(output_.tokens.size()))};
}

bool Generation::advance(const ChosenToken& chosen, const TokenBytes& token_bytes, double now_s) {
  if (request_.sampling.logprobs >= 0) output_.logprobs.emplace_back(chosen.logprobs.begin(), chosen.logprobs.end());
  return append(chosen.token, token_bytes, now_s);
}

bool Generation::append(int32_t token, const TokenBytes& token_bytes, double now_s) {
  sequence_.tokens.push_back(token);
  ++sequence_.next_logits;
  output_.tokens.push_back(token);
  output_.token_s.push_back(now_s);

  output_.finish = finish_reason(token);
  // A token that ends the request is no text, as in vLLM.
  if (output_.finish != FinishReason::kStop && text_.push(token_bytes(token))) output_.finish = FinishReason::kStop;
  const bool ended = output_.finish != FinishReason::kNone;
  if (ended) text_.finish();
  if (request_.on_text)
    if (const std::string_view shown = text_.take(); !shown.empty()) request_.on_text(shown);
  return !ended;
}

int32_t Generation::sample(std::span<const float> logits, Sampler& sampler) const {
  const RowChoice wanted = choice();
  try {
    return sampler.sample(logits, *wanted.sampling, wanted.tokens, wanted.uniform);
  } catch (const Error& error) {
    throw Error(error.code(), "request '{}': after {} tokens: {}", request_.id, sequence_.n_tokens(), error.what());
  }
}

FinishReason Generation::finish_reason(int32_t token) const {
  const SamplingParams& sampling = request_.sampling;
  if (!sampling.ignore_eos && contains(limits_.eos_token_ids, token)) return FinishReason::kStop;
  if (contains(sampling.stop_token_ids, token)) return FinishReason::kStop;
  const bool full = static_cast<int64_t>(output_.tokens.size()) >= sampling.max_tokens ||
                    sequence_.n_tokens() >= limits_.max_model_len;
  return full ? FinishReason::kLength : FinishReason::kNone;
}

RequestOutput Generation::take_output() {
  output_.text = text_.text();
  output_.n_cached_tokens = std::max(0, sequence_.n_cached_tokens);
  return std::move(output_);
}

}  // namespace trimeter
