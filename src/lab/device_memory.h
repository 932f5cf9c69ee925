#pragma once
#include "engine/engine.h"
#include "spec/model_spec.h"

namespace trimeter {

// For commands that ask nothing of the device's size: if options.device_memory_bytes is 0, sets it to what n_sequences
// of max_model_len need with the weights, or to a quarter of this machine's memory if that is less. Every page of the
// KV pool is really taken, so a pool that nobody fills costs seconds. A card's costs nothing and stays as large as it
// is.
void fit_device_memory(EngineOptions& options, const ModelSpec& model, int n_sequences);

}  // namespace trimeter
