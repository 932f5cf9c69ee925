// The engine as everybody above it sees it: ours today, an external server tomorrow. Meters, report and commands know
// nothing else of an engine.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/memory_breakdown.h"
#include "base/step_profile.h"

namespace trimeter {

// vLLM's SamplingParams, with its names and defaults (vLLM: vllm/sampling_params.py).
struct SamplingParams {
  double temperature = 1.0;         // 0: greedy
  int32_t top_k = 0;                // 0 or -1: all
  double top_p = 1.0;               // (0, 1]
  double min_p = 0.0;               // [0, 1]: relative to the most likely token
  double repetition_penalty = 1.0;  // > 0: over prompt and output tokens; > 1 discourages
  std::optional<uint64_t> seed{};   // same seed, same prompt: same tokens, whatever else is in the batch
  int32_t max_tokens = 16;
  bool ignore_eos = false;
  std::vector<std::string> stop{};  // text; not part of the output
  std::vector<int32_t> stop_token_ids{};
  int32_t logprobs = -1;  // -1: none; n: the sampled token's, then the n most likely ones'
};

enum class FinishReason { kNone, kStop, kLength };

struct TokenLogprob {
  int32_t token;
  float logprob;  // of the model's distribution before temperature and filters, natural log
};

struct RequestOutput {
  std::string id;
  std::vector<int32_t> tokens;  // generated
  std::string text;             // generated, detokenised, stop string removed
  FinishReason finish = FinishReason::kNone;
  int32_t n_prompt_tokens = 0;
  int32_t n_cached_tokens = 0;                      // prompt tokens taken from the prefix cache at first admission
  std::vector<std::vector<TokenLogprob>> logprobs;  // per generated token: sampled first, then the most likely
  double arrival_s = 0;                             // base/clock.h's clock
  std::vector<double> token_s;                      // when each token was there
};

struct Request {
  std::string id;
  std::vector<int32_t> prompt;
  SamplingParams sampling{};
  // Called on the stepping thread as text becomes whole: never half a UTF-8 character, never part of a stop string.
  std::function<void(std::string_view text)> on_text{};
};

struct EngineInfo {
  std::string format;               // a name of formats.def
  std::string requested, executed;  // arithmetic
  std::vector<std::string> kernel_lines;
  MemoryBreakdown memory;      // measured: what was really taken
  std::string device = "CPU";  // or "GPU"
  int64_t device_memory_bytes = 0;
  double utilization = 0;
  int64_t kv_blocks = 0;
  int32_t block_size = 0;  // tokens
  int64_t block_bytes = 0;
  int32_t max_model_len = 0, max_num_seqs = 0, max_num_batched_tokens = 0;
  int32_t vocab_size = 0;
};

struct EngineStats {  // running totals since the engine was made
  int64_t n_steps = 0, n_preemptions = 0;
  int64_t n_prompt_tokens = 0;  // computed: again after a preemption, not if cached, scored sequences too
  int64_t n_generated_tokens = 0;
  int64_t n_prefix_queries = 0, n_prefix_hits = 0;  // tokens, at first admissions
  double prefill_s = 0;                             // time in steps that had any prompt token
  double decode_s = 0;                              // time in steps that had none
  int64_t n_decode_tokens = 0;                      // tokens generated in steps that had no prompt token
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual const EngineInfo& info() const = 0;
  virtual EngineStats stats() const = 0;

  // Text to token ids and back with the model's own tokenizer.
  virtual std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const = 0;
  virtual std::string decode(std::span<const int32_t> tokens, bool skip_special_tokens) const = 0;

  // Throws Error(kBadArgument) for sampling parameters out of range and for a prompt that can never run: empty, no room
  // in max_model_len for one more token, a token out of range. Generation ends with kLength at max_model_len.
  virtual void submit(Request request) = 0;
  // One schedule-run-postprocess round. Returns what finished in it. false in `busy` when nothing is left to do. Throws
  // Error(kUnsupported) for logits that are no numbers; such an engine is of no further use.
  struct StepResult {
    bool busy = false;
    std::vector<RequestOutput> finished;
  };
  virtual StepResult step() = 0;

  // Submits all, steps until idle, returns the outputs in the order of the requests.
  std::vector<RequestOutput> generate(std::vector<Request> requests);

  // Teacher forcing: logits of every position of every sequence, through the same scheduler and kernels as generation.
  // on_logits(sequence, position, logits[vocab_size]): the logits that predict the token at position + 1; each
  // sequence's positions come in order, on the stepping thread. max_batch > 0 limits the sequences that run together.
  using ScoreSink = std::function<void(int sequence, int position, std::span<const float> logits)>;
  virtual void score(std::span<const std::vector<int32_t>> sequences, int max_batch, const ScoreSink& on_logits) = 0;

  virtual void reset_prefix_cache() = 0;

  // Takes the time of the steps that follow by operation, until take_profile(). Throws Error(kUnsupported) for an
  // engine that can't tell its operations apart.
  virtual void start_profile() = 0;
  virtual EngineProfile take_profile() = 0;
};

}  // namespace trimeter
