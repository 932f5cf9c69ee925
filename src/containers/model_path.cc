#include "containers/model_path.h"

#include "containers/gguf_model.h"
#include "containers/stored_quantization.h"

namespace trimeter {

ModelSpec open_model_spec(const std::filesystem::path& model) {
  return is_gguf(model) ? GgufModel::open(model).spec() : read_model_spec(model);
}

Tokenizer open_tokenizer(const std::filesystem::path& model) {
  return is_gguf(model) ? Tokenizer::from_gguf(GgufModel::open(model).vocabulary(), model.string())
                        : Tokenizer::open(model);
}

std::optional<Format> own_format(const std::filesystem::path& model, const ModelSpec& spec) {
  return is_gguf(model) ? GgufModel::open(model).format() : checkpoint_format(model, spec);
}

}  // namespace trimeter
