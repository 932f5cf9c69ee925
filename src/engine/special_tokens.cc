#include "engine/special_tokens.h"

#include <algorithm>

#include "base/error.h"

namespace trimeter {

std::vector<int32_t> end_tokens(const HfConfig& config, const HfGenerationConfig& generation,
                                const Tokenizer& tokenizer) {
  const auto check = [&](const std::string& path, const char* field, int32_t id) {
    if (id >= config.vocab_size)
      throw Error(Errc::kBadFile, "{}: field '{}': wanted an id below the model's vocab_size {}, got {}", path, field,
                  config.vocab_size, id);
    if (tokenizer.token_bytes(id).empty())
      throw Error(Errc::kBadFile, "{}: field '{}': wanted the id of a token, got {}, which tokenizer.json has none for",
                  path, field, id);
  };
  std::vector<int32_t> ends;
  const auto add = [&](const std::string& path, const std::vector<int32_t>& ids, const std::optional<int32_t>& bos) {
    if (bos) check(path, "bos_token_id", *bos);
    for (const int32_t id : ids) {
      check(path, "eos_token_id", id);
      if (std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
    }
  };
  add(config.path, config.eos_token_ids, config.bos_token_id);
  add(generation.path, generation.eos_token_ids, generation.bos_token_id);
  return ends;
}

}  // namespace trimeter
