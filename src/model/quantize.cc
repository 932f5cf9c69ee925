#include "model/quantize.h"

#include <algorithm>

#include "base/error.h"
#include "model/layer_quantizer.h"

namespace trimeter {

bool needs_calibration(const Format& format) { return find_algorithm(format).needs_calibration(); }

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

QuantizationReport quantize_layers(const Checkpoint& checkpoint, const ModelSpec& spec, const Format& format,
                                   const LoadOptions& options, ThreadPool& pool, const LayerSink& sink) {
  const Algorithm& algorithm = find_algorithm(format);
  const bool calibrated = std::any_of(options.calibration.begin(), options.calibration.end(),
                                      [](const auto& sequence) { return !sequence.empty(); });
  if (needs_calibration(format) && !calibrated)
    throw Error(Errc::kBadArgument, "calibration: {} needs token sequences, got none", format.algorithm);
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
    calibration.run(load_layer(checkpoint, spec, layer, dense, pool));
    done(layer, quantizer.quantize(report));
  }
  return report;
}

}  // namespace trimeter
