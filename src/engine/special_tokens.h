// The tokens that config.json and generation_config.json name by their ids.
#pragma once
#include <cstdint>
#include <vector>

#include "io/hf_config.h"
#include "text/tokenizer.h"

namespace trimeter {

// The tokens that end a generation: config.json's, then those that generation_config.json adds. Throws Error(kBadFile)
// with file and field for such an id, or a bos_token_id, that is beyond the model's vocabulary or that the tokenizer
// has no token for: nothing would ever end there. (A vocabulary may be padded beyond the tokenizer's tokens; such an id
// is no token.)
std::vector<int32_t> end_tokens(const HfConfig& config, const HfGenerationConfig& generation,
                                const Tokenizer& tokenizer);

}  // namespace trimeter
