// What MODEL names: a Hugging Face directory or a GGUF file.
#pragma once
#include <filesystem>
#include <optional>

#include "spec/format.h"
#include "spec/model_spec.h"
#include "text/tokenizer.h"

namespace trimeter {

// Throw Error with file, field, wanted and got.
ModelSpec open_model_spec(const std::filesystem::path& model);
Tokenizer open_tokenizer(const std::filesystem::path& model);
// The format that it is in already: a GGUF file always, a directory if it is quantized (checkpoint_format).
std::optional<Format> own_format(const std::filesystem::path& model, const ModelSpec& spec);
// Its own format with a KV cache in 8 bits instead of the one that it asks for. e4m3: with the scales that lie beside
// the weights, whether its config names them or not; without any they are to be calibrated.
Format with_kv_cache(const std::filesystem::path& model, const Format& own, const KvFormat& kv);

}  // namespace trimeter
