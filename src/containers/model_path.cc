#include "containers/model_path.h"

#include "containers/gguf_model.h"
#include "containers/kv_scales.h"
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

Format with_kv_cache(const std::filesystem::path& model, const Format& own, const KvFormat& kv) {
  Format format = with_kv_format(own, kv);
  format.kv_scales_stored = kv.dtype == DType::kF8E4M3 && !is_gguf(model) && has_kv_scales(Checkpoint::open(model));
  return format;
}

}  // namespace trimeter
