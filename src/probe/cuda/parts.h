// The parts of a card's measurement that are larger than one function; each fills its fields of a profile.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "base/cuda/cuda.h"
#include "cost/hardware.h"
#include "spec/ledger.h"
#include "spec/model_spec.h"

namespace trimeter::cuda {

// All rows that a decoding step's graph may have, but for an engine's own max_num_seqs (spec/ledger.h): where one
// kernel takes over from another, steps are on one side or the other, and so is what was measured. Between two of them
// there are steps with prompts alone.
inline constexpr std::span kDecodeRows = kGpuGraphRows;
inline constexpr int64_t kMostDecodeRows = kDecodeRows.back();

// layer_times and head_times of one scheme, appended.
void measure_stages(HardwareProfile& profile, const std::string& scheme_name, int compute_capability,
                    const Stream& stream);
// step_overheads, step_overhead_s, launched_*; needs everything else, stages of bf16 among it.
void measure_fixed_costs(HardwareProfile& profile, const std::vector<std::string>& schemes, int compute_capability,
                         const Stream& stream);

// The smallest model whose stages are measured: the card is done with it before the host is.
inline constexpr int64_t kSmallVocab = 4096;
ModelSpec small_spec(int64_t n_layers);

}  // namespace trimeter::cuda
