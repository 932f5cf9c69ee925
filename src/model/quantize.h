// A checkpoint's decoder layers in a format, chosen by its algorithm: what loading packs and what containers write.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "model/weights.h"

namespace trimeter {

// What a format does to a linear's outputs: |Y' - Y|^2 / |Y|^2 over a sample of the calibration tokens
// (algorithms/output_probe.h), Y being those of the unquantized weights for the same inputs.
struct LinearError {
  std::string module;  // module_name()
  std::string scheme;
  double relative_error = 0;
};

struct QuantizationReport {
  std::vector<LinearError> linears;  // in the model's order; empty if there was no calibration

  // The linears by relative error, the worst first; equal ones in the model's order.
  std::vector<LinearError> ranking() const;
  // The modules of its first `n`: what a mixed recipe would keep in 16 bits. For keep_16bit() (spec/mixed_format.h),
  // then quantize again.
  std::vector<std::string> worst(size_t n) const;
};

// Called with layer 0, 1, ... as soon as it is done.
using LayerSink = std::function<void(int layer, CanonicalLayer weights)>;

// Walks the checkpoint layer by layer. With calibration tokens, the layer's 16-bit (or fp32) weights, as the checkpoint
// has them, run over them; what its four linears see is summed into InputStatistics; the algorithm changes weights,
// norms and biases and chooses codes and scales; the unquantized outputs are the next layer's inputs. In memory at any
// time: one dense layer with its statistics and its codes, and the calibration tokens' hidden states.
// Without them (options.calibration is empty and needs_calibration(format) says no) codes are the nearest ones.
//
// AWQ. Scale groups (norm or linear that takes 1/s -> linears that take s), as llm-awq's auto_scale.py has them for
// Llama:
//   input_norm -> qkv;  v rows of qkv -> attention_out (only without grouped-query attention);
//   post_attention_norm -> gate_up;  up rows of gate_up -> down
// Clipping: every row but q's and k's.
//
// SmoothQuant (algorithms/smoothquant.h, options.smoothquant): the same groups, with v -> attention_out always: columns
// that a row of v feeds share a scale.
//
// GPTQ (algorithms/gptq.h, options.gptq): the codes of each linear for what it sees in the unquantized model. (The
// published code runs the next layer on the quantized one's outputs. Tried: a second pass over the tokens, and on the
// demo model a mean KLD of 0.0105 instead of 0.0102.)
//
// Schemes with static activations get their scale from what the linear sees (algorithms/activation_scale.h,
// options.activations), if there are calibration tokens.
//
// Linears kept in 16 bits take part in no search; what the others fold into them they take.
//
// The same bits for any number of threads. Not the same for any ISA: calibration activations differ in their last bits,
// which can move a code at a rounding tie or choose between exponents of nearly equal error.
//
// Throws Error(kBadArgument) if the format needs calibration and there is none, if a token is outside the vocabulary,
// or if options.gptq asks for act-order with groups of its own and a scheme has none (SchemeInfo::act_order);
// Error(kUnsupported) with file and tensor for calibration inputs that overflow and, where the algorithm is AWQ, for a
// weight beyond fp16's largest; otherwise as load_layer. Reports options.on_progress(algorithm, layers done, n_layers).
QuantizationReport quantize_layers(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                                   const LoadOptions& options, ThreadPool& pool, const LayerSink& sink);

}  // namespace trimeter
