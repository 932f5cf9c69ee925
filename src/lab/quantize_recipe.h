// What `trimeter quantize` may change of a format: its scheme, its algorithm, its container, which linears it leaves
// alone, and what its algorithm is told.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/weights.h"
#include "spec/format.h"
#include "spec/model_spec.h"

namespace trimeter {

// Each field is the option of that name; unset ones leave the format's or the algorithm's own.
struct QuantizeRecipe {
  std::string format;                                                   // a name of formats.def
  std::string scheme{}, algorithm{}, container{};                       // instead of the format's
  int64_t group_size = 0;                                               // of its scheme; -1: a whole row; 0: unset
  std::optional<bool> zero_points{};                                    // of its scheme
  std::vector<std::string> keep_16bit{};                                // patterns: keep_16bit() of spec/mixed_format.h
  std::optional<double> alpha{};                                        // SmoothQuantOptions
  bool act_order = false, static_groups = false, search_range = false;  // GptqOptions
  std::optional<double> damp{};
  std::optional<ActivationOptions::Range> activation_scale{};
  std::optional<double> percentile{};
};

// The format in the scheme, algorithm and container that the options make of it, without what keep_16bit does. Throws
// Error(kBadArgument or kUnsupported) that names the option for a part that there is none of, parts that make no sense
// together, groups or a KV cache that there is no scheme or no place for, and an option that the whole has no use for
// or that is out of its range. A format of GGUF takes none of them.
Format recipe_format(const QuantizeRecipe& recipe);
// With the linears that keep_16bit names in 16 bits. Throws Error as keep_16bit() does, too.
Format recipe_format(const QuantizeRecipe& recipe, const ModelSpec& model);

// Without calibration tokens.
LoadOptions algorithm_options(const QuantizeRecipe& recipe);

}  // namespace trimeter
