#include "meters/throughput.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/stats.h"

namespace trimeter {
namespace {

using Prompts = std::span<const std::vector<int32_t>>;

void check(std::span<const NamedEngine> engines, Prompts prompts, const ThroughputOptions& options) {
  if (engines.empty()) throw Error(Errc::kBadArgument, "throughput: wanted at least one engine, got none");
  if (prompts.empty()) throw Error(Errc::kBadArgument, "throughput: wanted at least one prompt, got none");
  if (options.rounds < 1)
    throw Error(Errc::kBadArgument, "throughput: rounds: wanted at least 1, got {}", options.rounds);
  if (options.warmup < 0 || options.max_tokens < 1)
    throw Error(Errc::kBadArgument, "throughput: wanted warmup >= 0 and max_tokens >= 1, got {} and {}", options.warmup,
                options.max_tokens);
  for (const NamedEngine& named : engines)
    for (size_t i = 0; i < prompts.size(); ++i) {
      const int64_t n_tokens = static_cast<int64_t>(prompts[i].size()) + options.max_tokens;
      if (n_tokens > named.engine->info().max_model_len)
        throw Error(Errc::kBadArgument, "throughput: prompt {} with max_tokens {}: wanted at most {} tokens, got {}", i,
                    options.max_tokens, named.engine->info().max_model_len, n_tokens);
    }
}

std::vector<Request> make_requests(Prompts prompts, int32_t max_tokens) {
  std::vector<Request> requests(prompts.size());
  for (size_t i = 0; i < prompts.size(); ++i) {
    requests[i].id = std::to_string(i);
    requests[i].prompt = prompts[i];
    requests[i].sampling.temperature = 0;
    requests[i].sampling.max_tokens = max_tokens;
    requests[i].sampling.ignore_eos = true;
  }
  return requests;
}

// The samples of one format, one of each per round, as long as there is something to divide by.
struct Samples {
  std::vector<double> generation, decode, prompt, ttft_s, itl_s;
  std::vector<EngineProfile> profiles;
};

void run_once(Engine& engine, Prompts prompts, int32_t max_tokens, bool profile, Samples& samples) {
  engine.reset_prefix_cache();
  std::vector<Request> requests = make_requests(prompts, max_tokens);
  if (profile) engine.start_profile();
  const EngineStats before = engine.stats();
  const double begin_s = now_s();
  const std::vector<RequestOutput> outputs = engine.generate(std::move(requests));
  const double wall_s = now_s() - begin_s;
  const EngineStats after = engine.stats();
  if (profile) samples.profiles.push_back(engine.take_profile());

  std::vector<double> ttft_s, itl_s;
  for (const RequestOutput& output : outputs) {
    const std::vector<double>& at = output.token_s;
    TM_CHECK(output.tokens.size() == static_cast<size_t>(max_tokens) && at.size() == output.tokens.size(),
             "request {}: {} tokens and {} times, wanted {}", output.id, output.tokens.size(), at.size(), max_tokens);
    ttft_s.push_back(at[0] - output.arrival_s);
    for (size_t i = 1; i < at.size(); ++i) itl_s.push_back(at[i] - at[i - 1]);
  }
  samples.generation.push_back(static_cast<double>(outputs.size()) * max_tokens / wall_s);
  samples.ttft_s.push_back(median(ttft_s));
  if (!itl_s.empty()) samples.itl_s.push_back(median(itl_s));
  const double decode_s = after.decode_s - before.decode_s, prefill_s = after.prefill_s - before.prefill_s;
  if (decode_s > 0)
    samples.decode.push_back(static_cast<double>(after.n_decode_tokens - before.n_decode_tokens) / decode_s);
  if (prefill_s > 0)
    samples.prompt.push_back(static_cast<double>(after.n_prompt_tokens - before.n_prompt_tokens) / prefill_s);
}

}  // namespace

std::vector<Throughput> measure_throughput(std::span<const NamedEngine> engines, Prompts prompts,
                                           const ThroughputOptions& options, const MeterProgress& progress) {
  check(engines, prompts, options);
  const size_t n = engines.size();
  std::vector<Samples> samples(n);
  const auto n_runs = static_cast<int64_t>(n) * (options.warmup + options.rounds);
  const int32_t warmup_tokens = options.warmup_tokens > 0 ? options.warmup_tokens : options.max_tokens;
  int64_t n_done = 0;
  if (progress) progress("throughput", 0, n_runs);
  for (int round = -options.warmup; round < options.rounds; ++round) {
    Samples uncounted;
    if (round >= 0 && options.between_rounds) options.between_rounds();
    for (size_t i = 0; i < n; ++i) {
      const size_t which = (i + static_cast<size_t>(round + options.warmup)) % n;
      if (round < 0)
        run_once(*engines[which].engine, prompts, warmup_tokens, false, uncounted);
      else
        run_once(*engines[which].engine, prompts, options.max_tokens, options.profile, samples[which]);
      if (progress) progress("throughput", ++n_done, n_runs);
    }
  }
  if (options.between_rounds) options.between_rounds();

  std::vector<Throughput> results;
  for (size_t i = 0; i < n; ++i) {
    Throughput result;
    result.format = engines[i].format;
    if (i > 0) result.ratio_to_baseline = Sampled::of(paired_ratios(samples[i].generation, samples[0].generation));
    results.push_back(std::move(result));
  }
  for (size_t i = 0; i < n; ++i) {
    results[i].generation_tokens_per_s = Sampled::of(std::move(samples[i].generation));
    results[i].decode_tokens_per_s = Sampled::of(std::move(samples[i].decode));
    results[i].prompt_tokens_per_s = Sampled::of(std::move(samples[i].prompt));
    results[i].ttft_s = Sampled::of(std::move(samples[i].ttft_s));
    results[i].itl_s = Sampled::of(std::move(samples[i].itl_s));
    results[i].profiles = std::move(samples[i].profiles);
  }
  return results;
}

}  // namespace trimeter
