// One layer through a format's algorithm; model/quantize.h says what that does.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/calibration.h"
#include "model/quantize.h"

namespace trimeter {

// First scales and clips, then codes, then the scale of activations where the scheme has a static one.
enum class Scaling { kNone, kAwq, kSmoothQuant };
enum class Rounding { kNearest, kGptq };
struct Algorithm {
  std::string_view name;
  Scaling scaling;
  Rounding rounding;
  bool needs_calibration;
  bool needs_gram() const { return scaling == Scaling::kAwq || rounding == Rounding::kGptq; }
};
// Throws Error(kUnsupported) if there is no such algorithm.
const Algorithm& find_algorithm(const Format& format);
// Those that a user can name.
std::span<const Algorithm> all_algorithms();
// Why it makes no sense on a scheme; empty if it does. ("activations are not quantized")
std::string refuses(const Algorithm& algorithm, const Scheme& scheme);

class LayerQuantizer {
 public:
  LayerQuantizer(Calibration& calibration, const ModelSpec& spec, const Format& format, const LoadOptions& options,
                 ThreadPool& pool)
      : calibration_(calibration),
        spec_(spec),
        format_(format),
        algorithm_(find_algorithm(format)),
        options_(options),
        pool_(pool) {}
  // The calibration's layer; takes the scales of folds into its statistics. Appends to `report`.
  CanonicalLayer quantize(QuantizationReport& report);

 private:
  struct Linear;
  bool scales(const Linear& linear) const;
  std::vector<float> find_scales(const Linear& linear, std::span<const int32_t> channel_of_input);
  std::vector<float> scale(Linear& linear, std::span<const int32_t> channel_of_input = {});
  void fold(Linear& linear, std::vector<float>& norm);
  void fold(Linear& linear, Linear& previous, std::span<const int32_t> row_of_input);
  void clip(Linear& linear);
  CanonicalWeight choose_codes(const Linear& linear);
  CanonicalLinear finish(Linear linear, QuantizationReport& report);

  Calibration& calibration_;
  const ModelSpec& spec_;
  const Format& format_;
  const Algorithm& algorithm_;
  const LoadOptions& options_;
  ThreadPool& pool_;
};

}  // namespace trimeter
