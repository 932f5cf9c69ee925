#include "cost/stage_excess.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "cost/polyline.h"
#include "cost/product_fit.h"
#include "cost/step_time.h"

namespace trimeter {
namespace {

constexpr double kNear = 0.7;          // of log(weights): a factor of 2
constexpr int64_t kLayersOfModel = 8;  // any number: a layer is a share of them

double weights_of_layer(const ModelSpec& model) {
  double n_weights = 0;
  for (const LinearSpec& linear : model.linears_of_layer(0))
    n_weights += static_cast<double>(linear.shape.out) * static_cast<double>(linear.shape.in);
  return n_weights;
}

// Without what was measured of stages and steps: operations alone.
HardwareProfile operations_of(const HardwareProfile& hardware) {
  HardwareProfile operations = hardware;
  operations.layer_times.clear();
  operations.head_times.clear();
  operations.layer_overheads.clear();
  operations.step_overheads.clear();
  operations.launched_layers.clear();
  for (double* seconds : {&operations.step_overhead_s, &operations.layer_overhead_s, &operations.launched_step_s,
                          &operations.launched_layer_s, &operations.barrier_s})
    *seconds = 0;
  return operations;
}

StepShape shape_of(int64_t n_rows, int64_t n_new, int64_t n_context) {
  StepShape shape{.seqs = {}, .n_logit_rows = n_rows / n_new};
  shape.seqs.assign(static_cast<size_t>(n_rows / n_new), {.n_new = n_new, .n_context = n_context});
  return shape;
}

}  // namespace

StageExcess::StageExcess(const ModelSpec& model, const Format& of_model, const HardwareProfile& hardware,
                         Target target) {
  if (hardware.layer_times.empty() && hardware.head_times.empty()) return;
  layer_weights_ = weights_of_layer(model);
  head_ = model.lm_head().shape;
  const HardwareProfile operations = operations_of(hardware);
  const std::string head_scheme(linear_scheme(model, of_model, model.lm_head()).info().name);
  Format format = trimeter::format("bf16");  // a KV cache in 16 bits, as measured
  format.scheme_of_module = {{std::string(kLmHeadModule), head_scheme}};
  format.scheme = linear_scheme(model, of_model, model.linears_of_layer(0)[0]).info().name;
  const auto seconds = [&](const ModelSpec& spec, const StepShape& shape) {
    return StepTimer(spec, format, operations, target, hardware.threads).time(shape).operations_s(Stage::kLayers);
  };
  for (const LayerTimes& layer : hardware.layer_times) {
    if (layer.scheme != format.scheme) continue;
    ModelSpec spec = model;
    spec.n_layers = kLayersOfModel;
    spec.hidden_size = layer.hidden_size;
    spec.intermediate_size = layer.intermediate_size;
    spec.n_heads = layer.n_heads;
    spec.n_kv_heads = layer.n_kv_heads;
    spec.head_dim = layer.head_dim;
    Size size{weights_of_layer(spec), {}};
    for (const RowTime& time : layer.times)
      size.excess.push_back(
          {time.n_rows,
           time.seconds - seconds(spec, shape_of(time.n_rows, layer.n_new, layer.n_context)) / kLayersOfModel});
    (layer.n_new == 1 ? decode_ : prompt_).push_back(std::move(size));
  }
  for (std::vector<Size>* sizes : {&decode_, &prompt_}) std::ranges::sort(*sizes, {}, &Size::n_weights);
  std::ranges::copy_if(hardware.head_times, std::back_inserter(heads_),
                       [&](const HeadTimes& head) { return head.scheme == head_scheme; });
}

std::optional<double> StageExcess::at(const std::vector<Size>& sizes, double n_weights, int64_t n_rows) {
  if (sizes.empty()) return std::nullopt;
  std::vector<std::pair<double, double>> measured, curve;
  for (const Size& size : sizes) measured.emplace_back(std::log(size.n_weights), seconds_at(size.excess, n_rows));
  for (const auto& [x, _] : measured) {
    double sum = 0, weight = 0;
    for (const auto& [other, seconds] : measured) {
      const double near = std::max(0.0, 1 - std::fabs(other - x) / kNear);
      sum += near * seconds;
      weight += near;
    }
    curve.emplace_back(x, sum / weight);
  }
  return on_polyline(curve, std::log(n_weights));
}

std::optional<double> StageExcess::of_layer(int64_t n_rows, bool is_decode) const {
  if (is_decode) return at(decode_, layer_weights_, n_rows);
  const std::optional<double> excess = at(prompt_, layer_weights_, n_rows);
  return excess ? std::optional(std::max(*excess, 0.0)) : std::nullopt;
}

std::optional<double> StageExcess::head_seconds(int64_t n_rows) const {
  if (heads_.empty()) return std::nullopt;
  std::vector<ProductTime> times;
  for (const HeadTimes& head : heads_)
    times.push_back({{head.vocab_size, head.hidden_size}, seconds_at(head.times, n_rows)});
  return fit_products(times).seconds(head_);
}

}  // namespace trimeter
