#pragma once
#include <functional>
#include <span>
#include <string_view>

#include "api/engine.h"
#include "engine/output_text.h"
#include "engine/sampler.h"
#include "engine/sequence.h"
#include "engine/step_runner.h"

namespace trimeter {

// The bytes that a token adds to the output: none for a special token.
using TokenBytes = std::function<std::string_view(int32_t token)>;

struct GenerationLimits {
  int32_t max_model_len = 0;
  int32_t vocab_size = 0;
  std::vector<int32_t> eos_token_ids;  // of config.json and generation_config.json
};

// A request on its way: from logits to tokens, text and the reason to end.
class Generation {
 public:
  // ordinal: the key of the draws if the request has no seed, so that a run can be repeated.
  // Throws Error(kBadArgument) for parameters or a prompt that make no sense.
  Generation(Request request, const GenerationLimits& limits, uint64_t ordinal, double now_s);

  Sequence& sequence() { return sequence_; }
  // The next token, from the logits of the last one. False when the request has ended. Throws what Sampler throws.
  bool advance(std::span<const float> logits, Sampler& sampler, const TokenBytes& token_bytes, double now_s);
  // Or as it was chosen elsewhere.
  RowChoice choice() const;
  bool advance(const ChosenToken& chosen, const TokenBytes& token_bytes, double now_s);
  RequestOutput take_output();

 private:
  int32_t sample(std::span<const float> logits, Sampler& sampler) const;
  bool append(int32_t token, const TokenBytes& token_bytes, double now_s);
  FinishReason finish_reason(int32_t token) const;

  const GenerationLimits& limits_;
  Request request_;
  Sequence sequence_;
  OutputText text_;
  RequestOutput output_;
  uint64_t key_;
};

}  // namespace trimeter
