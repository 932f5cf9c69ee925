// A model in another format, written as a directory that this program, vLLM and transformers load.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/memory_breakdown.h"
#include "base/thread_pool.h"
#include "lab/quantize_recipe.h"
#include "lab/subject.h"
#include "model/quantize.h"

namespace trimeter {

struct QuantizeOptions : QuantizeRecipe {
  std::filesystem::path model, output;
  int keep_worst = 0;  // linears with the largest output error that stay in 16 bits, too
  // Texts for algorithms that look at activations, and for the report of errors, which is made if there are any.
  std::vector<std::string> calibration;
  bool force = false, dry_run = false;
  std::shared_ptr<ThreadPool> threads{};  // null: one of its own, a thread per CPU
  std::function<void(const std::string& what, int done, int total)> on_progress{};
};

// What will be written, checked against the model.
struct QuantizePlan {
  Subject subject;
  Format format;
  MemoryBreakdown memory;           // of the weights: the ledger's
  std::vector<TensorInfo> tensors;  // in the order of the files
  int64_t file_bytes() const;       // of the tensors
};

// Throws Error(kBadArgument) if it is quantized already.
void check_not_quantized(const std::filesystem::path& model, const ModelSpec& spec);

// Throws Error for a format that the model's shapes or the container refuse, and for a model that is quantized already.
QuantizePlan plan_quantize(const QuantizeOptions& options);

struct Quantized {
  QuantizePlan plan;  // with the linears that keep_worst chose
  QuantizationReport report;
};

// Writes weights, config.json with its quantization_config, generation_config.json, tokenizer and chat template.
// Nothing is left of a run that fails. A dry run writes nothing, and finds the worst linears if some are to be kept.
// Needs memory for one layer beside the calibration (model/quantize.h).
Quantized run_quantize(const QuantizeOptions& options);

}  // namespace trimeter
