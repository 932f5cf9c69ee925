// The tokenizer of a synthetic checkpoint; lab/synth.h says what it is.
#pragma once
#include <cstdint>
#include <filesystem>

namespace trimeter {

// tokenizer.json and tokenizer_config.json with n_tokens tokens, at least 256 bytes, 95 * 95 pairs and 3 special ones.
void write_synthetic_tokenizer(int64_t n_tokens, const std::filesystem::path& directory);

}  // namespace trimeter
