// What configs say about modules: which are quantized and how, in names of the checkpoint's own (unfused) modules.
#pragma once
#include <string>
#include <vector>

#include "containers/container.h"

namespace trimeter {

// Modules of the decoder layers that the format holds in floats, in the model's order.
std::vector<std::string> dense_modules(const ModelSpec& model, const Format& format);
// The schemes of a format's decoder layers and lm_head, each once, with the modules that have it; the most used first.
struct QuantizedModules {
  const Scheme* scheme;
  SchemeTraits traits;
  std::vector<std::string> modules;
};
std::vector<QuantizedModules> quantized_modules(const ModelSpec& model, const Format& format);
// For containers that have words for one scheme alone: throws Error(kUnsupported) if there are more, or none.
SchemeTraits only_traits(const ModelSpec& model, const Format& format);

// AutoAWQ's and GPTQ's word: -1 is a whole row.
int64_t written_group_size(const SchemeTraits& traits);

}  // namespace trimeter
