// One parser of quantization_config per quant_method.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "containers/stored_quantization.h"
#include "io/json_fields.h"

namespace trimeter {

StoredQuantization parse_awq(const Fields& config);
// `json`: the same object's text, for the order of `dynamic`.
StoredQuantization parse_gptq(const Fields& config, const std::string& json);
StoredQuantization parse_compressed_tensors(const Fields& config);
StoredQuantization parse_vllm_fp8(const Fields& config);

// Whether a name is matched by a pattern that Python's re.match would be given: from its beginning. Compiled here:
// throws Error(kBadFile).
std::function<bool(const std::string& name)> regex_matcher(const std::string& pattern, const std::string& where);

}  // namespace trimeter
