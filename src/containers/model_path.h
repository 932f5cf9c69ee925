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

}  // namespace trimeter
