// The parts of tokenizer.json that say what happens to text before and behind the model. Anything unknown is refused by
// its name: Error(kUnsupported) with path and field.
#pragma once
#include <vector>

#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/tokenizer_field.h"

namespace trimeter {

void read_normalizer(const Field& field, std::vector<NormalizerStep>& steps);
// Returns whether the pieces are in the byte-level alphabet.
bool read_pre_tokenizer(const Field& field, std::vector<SplitStep>& steps);
TokenDecoderParts read_decoder(const Field& field, bool byte_level);

// A regular expression that matches just this text.
std::string escaped_pattern(std::string_view literal);
// ByteLevel's own split: GPT-2's.
extern const char* const kGpt2Pattern;

}  // namespace trimeter
