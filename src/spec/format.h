// The one list of formats: what a user can name.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tensor/dtype.h"

namespace trimeter {

// In scheme_of_module: an untied embedding that is held in a scheme, as in a GGUF file.
inline constexpr std::string_view kEmbeddingModule = "model.embed_tokens";

struct Format {
  std::string name;       // "awq", "awq+kv-fp8"
  std::string scheme;     // a name of schemes/*/schemes.def: of the decoder layers' linears
  std::string algorithm;  // "none", "amax", "rtn", "awq"
  std::string container;  // "written as": "safetensors", "vllm-fp8", "autoawq"
  std::string summary;    // one line for `trimeter formats`
  // Linears held in another scheme than the rule says (a checkpoint's ignore list, a mixed recipe): module_name() of
  // the linear -> scheme.
  std::map<std::string, std::string> scheme_of_module = {};
  std::optional<DType> kv_dtype = {};  // of the KV cache: kF8E4M3 or kI8; absent: the dense dtype
  bool kv_scales_stored = false;       // of kF8E4M3: its scales are the checkpoint's, not calibrated
};

// What a KV cache can be held in beside the dense dtype: the second half of a name like "awq+kv-fp8".
struct KvFormat {
  std::string name;  // "kv-fp8"
  DType dtype = DType::kF8E4M3;
  std::string summary;
};

// What follows a row's name: "awq+lm_head-int8+kv-fp8" is awq with lm_head in int8's scheme and the KV cache in fp8.
// The rows of formats.def, in its order.
std::span<const Format> all_formats();
std::span<const KvFormat> all_kv_formats();
// A row, a row + lm_head's row, either + a KV format. Throws Error(kBadArgument) with the names there are.
Format format(std::string_view name);

// "awq+lm_head-int8": lm_head, and with it a tied embedding, held in the scheme of another row, with nearest codes.
// Throws Error(kBadArgument) for 16 bits, which is what lm_head has anyway, and for static activations, which take
// calibration. The name `name` with that part; as it is if it names no row, one in 16 bits, or has such a part already.
inline constexpr std::string_view kLmHeadModule = "lm_head";
Format with_lm_head(Format format, std::string_view row);
std::string name_with_lm_head(std::string_view name, std::string_view row);

// "awq+kv-fp8" -> "awq"; and the row "kv-fp8", or nullptr if the name has no '+'. Throws as format().
std::string_view without_kv_format(std::string_view name);
const KvFormat* kv_format_of(std::string_view name);
// `format` with its KV cache in `kv`, and its name accordingly.
Format with_kv_format(Format format, const KvFormat& kv);

}  // namespace trimeter
