#include "model/quantize.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "containers/stored_quantization.h"
#include "model/float_tensor.h"
#include "model/layer_quantizer.h"

namespace trimeter {
namespace {

constexpr float kF16Max = 65504.0f;

// AWQ is defined on fp16 weights. What is far beyond would leave float once a scale has multiplied it.
void check_weights(const Checkpoint& checkpoint, const std::vector<LinearSpec>& linears, ThreadPool& pool) {
  for (const LinearSpec& linear : linears)
    for (const LinearPart& part : linear.parts) check_floats(checkpoint.at(part.tensor), pool, kF16Max, "fp16");
}

// The diagonal of X^T X, where it is summed: no other product of inputs is larger than its largest.
void check_statistics(const Checkpoint& checkpoint, const LinearSpec& linear, const InputStatistics& input) {
  for (int64_t i = 0; i < input.in; ++i) {
    if (std::isfinite(input.abs_sum[i]) && (input.gram.empty() || std::isfinite(input.gram[i * (input.in + 1)])))
      continue;
    const TensorView& tensor = checkpoint.at(linear.parts[0].tensor);
    throw Error(Errc::kUnsupported,
                "{}: tensor '{}': calibration: channel {} of its inputs: wanted finite sums, got an infinity or NaN",
                tensor.file->path().string(), tensor.name, i);
  }
}

}  // namespace

bool needs_calibration(const Format& format) {
  const bool calibrated_kv = format.kv_dtype == DType::kF8E4M3 && !format.kv_scales_stored;
  if (is_stored(format)) return calibrated_kv;
  return find_algorithm(format).needs_calibration || scheme(format.scheme).info().static_input || calibrated_kv;
}

std::vector<LinearError> QuantizationReport::ranking() const {
  std::vector<LinearError> ranked = linears;
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const LinearError& a, const LinearError& b) { return a.relative_error > b.relative_error; });
  return ranked;
}

std::vector<std::string> QuantizationReport::worst(size_t n) const {
  std::vector<std::string> modules;
  for (const LinearError& linear : ranking())
    if (modules.size() < n) modules.push_back(linear.module);
  return modules;
}

namespace {

void check_act_order(const ModelSpec& spec, const Format& format, const GptqOptions& options) {
  if (!options.act_order || options.static_groups) return;
  for (const LinearSpec& linear : spec.linears()) {
    const SchemeInfo& info = linear_scheme(spec, format, linear).info();
    if (info.grid != nullptr && info.group_size > 0 && !info.act_order)
      throw Error(
          Errc::kBadArgument,
          "format {}: {}: act-order with groups of its own needs a scheme that says the group of each input, got "
          "{}; static groups need none",
          format.name, module_name(linear), info.name);
  }
}

}  // namespace

QuantizationReport quantize_layers(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                                   const LoadOptions& options, ThreadPool& pool, const LayerSink& sink) {
  const Algorithm& algorithm = find_algorithm(format);
  const bool calibrated = has_tokens(options.calibration);
  if (needs_calibration(format) && !calibrated)
    throw Error(Errc::kBadArgument, "calibration: {} needs token sequences, got none", format.algorithm);
  if (algorithm.rounding == Rounding::kGptq) check_act_order(spec, format, options.gptq);
  const auto n_layers = static_cast<int>(spec.n_layers);
  QuantizationReport report;
  const auto done = [&](int layer, CanonicalLayer weights) {
    sink(layer, std::move(weights));
    if (options.on_progress) options.on_progress(calibrated ? format.algorithm : "weights", layer + 1, n_layers);
  };
  if (!calibrated) {
    for (int layer = 0; layer < n_layers; ++layer) done(layer, read_layer(checkpoint, spec, layer, format, pool));
    return report;
  }
  const Format dense = trimeter::format(dense_scheme(spec.dtype).info().name);
  Calibration calibration(checkpoint, spec, options.calibration, algorithm.needs_gram(), pool);
  LayerQuantizer quantizer(calibration, spec, format, options, pool);
  for (int layer = 0; layer < n_layers; ++layer) {
    const std::vector<LinearSpec> linears = spec.linears_of_layer(layer);
    if (algorithm.needs_gram()) check_weights(checkpoint, linears, pool);
    calibration.run(load_layer(checkpoint, spec, layer, dense, pool));
    for (const LinearSpec& linear : linears) check_statistics(checkpoint, linear, calibration.statistics(linear.role));
    done(layer, quantizer.quantize(report));
  }
  return report;
}

}  // namespace trimeter
