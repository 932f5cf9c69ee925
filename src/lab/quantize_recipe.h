// What `trimeter quantize` may change of a format: its groups, its container, which linears it leaves alone, and what
// its algorithm is told.
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
  std::string container{};                                              // to be written in
  int64_t group_size = 0;                                               // of its scheme; -1: a whole row; 0: unset
  std::vector<std::string> keep_16bit{};                                // patterns: keep_16bit() of spec/mixed_format.h
  std::optional<double> alpha{};                                        // SmoothQuantOptions
  bool act_order = false, static_groups = false, search_range = false;  // GptqOptions
  std::optional<double> damp{};
  std::optional<ActivationOptions::Range> activation_scale{};
  std::optional<double> percentile{};
};

// Throws Error(kBadArgument) that names the option if it is one the format has no use for, or out of its range.
void check_options(const QuantizeRecipe& recipe, const Format& format);

// The format in the scheme and container that the options make of it. Throws Error as check_options, and for groups, a
// container or a KV cache that there is no scheme or no place for.
Format recipe_format(const QuantizeRecipe& recipe, const ModelSpec& model);

// Without calibration tokens.
LoadOptions algorithm_options(const QuantizeRecipe& recipe);

}  // namespace trimeter
