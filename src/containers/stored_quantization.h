// What a quantized checkpoint's config says: config.json's quantization_config, or the file of its own that older
// quantizers wrote (quantize_config.json: AutoGPTQ, quant_config.json: llm-awq).
#pragma once
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "containers/scheme_traits.h"
#include "spec/format.h"
#include "spec/model_spec.h"

namespace trimeter {

struct StoredQuantization {
  std::string container;  // its name
  // Of a linear of the checkpoint, by its (unfused) name; nullopt: it is in floats.
  std::function<std::optional<SchemeTraits>(const std::string& module)> traits_of;
  bool kv_fp8 = false;  // it asks for an fp8 KV cache with per-tensor scales
};

// `json`: the object's text, keys in the file's order (GPTQ's rules have one). Throws Error, opened by `where`, for a
// method, layout, type or option that we lack (kUnsupported, naming it) and for what is malformed (kBadFile). Regexes
// are Python's, run by PCRE2.
StoredQuantization parse_quantization(const std::string& json, const std::string& where);

// The format that a checkpoint is in already; nullopt: it is in floats. Its algorithm is kStoredAlgorithm; its name is
// that of the row of formats.def with this scheme and container, else the two; "+kv-fp8" if it asks for such a cache.
// Matrices that are multiplied as one must
// be quantized alike: throws Error(kUnsupported) if they are not, and as parse_quantization.
std::optional<Format> checkpoint_format(const std::filesystem::path& directory, const ModelSpec& model);

inline constexpr const char* kStoredAlgorithm = "stored";
inline bool is_stored(const Format& format) { return format.algorithm == kStoredAlgorithm; }

}  // namespace trimeter
