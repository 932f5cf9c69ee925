// Algorithms that look at activations, applied to a checkpoint while it is loaded.
#pragma once
#include <vector>

#include "model/weights.h"

namespace trimeter {

// What load_weights calls for formats whose algorithm is "awq": all layers, searched and packed in the format's
// schemes.
//
// Walks the checkpoint layer by layer. The layer's 16-bit (or fp32) weights, as the checkpoint has them, run over
// options.calibration; the inputs of its four linears are summed into InputStatistics; the search (algorithms/awq.h)
// changes weights, norms and biases; the result is quantized and packed; the unquantized outputs are the next layer's
// inputs, as in the reference. In memory at any time: the packed result so far, one dense layer with its statistics,
// and the calibration tokens' hidden states.
//
// Scale groups (norm or linear that takes 1/s -> linears that take s), as llm-awq's auto_scale.py has them for Llama:
//   input_norm -> qkv;  v rows of qkv -> attention_out (only without grouped-query attention);
//   post_attention_norm -> gate_up;  up rows of gate_up -> down
// Clipping: every row but q's and k's.
//
// The same bits for any number of threads. Not the same for any ISA: calibration activations differ in their last bits,
// which can move a code at a rounding tie or choose between exponents of nearly equal error.
//
// Throws Error(kBadArgument) if options.calibration is empty or holds a token outside the vocabulary; otherwise as
// load_layer. Reports options.on_progress("awq", layers done, n_layers).
std::vector<LayerWeights> quantize_awq(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                                       const LoadOptions& options, ThreadPool& pool);

}  // namespace trimeter
