#include "model/layer_quantizer.h"

#include <cmath>

#include "algorithms/awq.h"
#include "algorithms/output_probe.h"
#include "base/error.h"
#include "base/log.h"
#include "containers/stored_quantization.h"

namespace trimeter {
namespace {

constexpr std::string_view kNoAlgorithm = "none";
// The first is no user's.
constexpr Algorithm kAlgorithms[] = {{kStoredAlgorithm, Scaling::kNone, Rounding::kNearest, false},
                                     {kNoAlgorithm, Scaling::kNone, Rounding::kNearest, false},
                                     {"amax", Scaling::kNone, Rounding::kNearest, false},
                                     {"rtn", Scaling::kNone, Rounding::kNearest, false},
                                     {"calibration", Scaling::kNone, Rounding::kNearest, true},
                                     {"awq", Scaling::kAwq, Rounding::kNearest, true},
                                     {"gptq", Scaling::kNone, Rounding::kGptq, true},
                                     {"smoothquant", Scaling::kSmoothQuant, Rounding::kNearest, true},
                                     {"smoothquant+gptq", Scaling::kSmoothQuant, Rounding::kGptq, true}};

// The row of v that makes each input of the attention's output projection.
std::vector<int32_t> rows_of_v(const ModelSpec& spec) {
  const int64_t heads_per_kv = spec.n_heads / spec.n_kv_heads;
  std::vector<int32_t> rows;
  for (int64_t head = 0; head < spec.n_heads; ++head)
    for (int64_t i = 0; i < spec.head_dim; ++i)
      rows.push_back(static_cast<int32_t>(head / heads_per_kv * spec.head_dim + i));
  return rows;
}

}  // namespace

const Algorithm& find_algorithm(const Format& format) {
  for (const Algorithm& algorithm : kAlgorithms)
    if (algorithm.name == format.algorithm) return algorithm;
  throw Error(Errc::kUnsupported, "format {}: there is no algorithm '{}'", format.name, format.algorithm);
}

std::span<const Algorithm> all_algorithms() { return std::span(kAlgorithms).subspan(1); }

std::string refuses(const Algorithm& algorithm, const Scheme& scheme) {
  const SchemeInfo& info = scheme.info();
  const bool is_nearest = algorithm.scaling == Scaling::kNone && algorithm.rounding == Rounding::kNearest;
  if (traits_of(scheme) == nullptr)
    return algorithm.name == kNoAlgorithm ? "" : "it has no codes with scales to choose";
  if (algorithm.name == kNoAlgorithm) return "somebody has to choose its codes";
  if (algorithm.needs_gram() && info.grid == nullptr) return "its codes are no integers";
  if (algorithm.scaling == Scaling::kSmoothQuant && info.activation != DType::kI8 && info.activation != DType::kF8E4M3)
    return "its activations stay in 16 bits";
  if (is_nearest && algorithm.needs_calibration && !info.static_input) return "its activations have no static scale";
  return "";
}

// One linear in work: its weight and bias in float, changed by folds and clipping until codes are chosen.
struct LayerQuantizer::Linear {
  LinearSpec spec;
  const Scheme& scheme;
  std::vector<float> weight, bias;

  Linear(const LinearWeight& dense, const Scheme& wanted)
      : spec(dense.spec), scheme(wanted), weight(spec.shape.out * spec.shape.in), bias(dense.bias) {
    for (int64_t row = 0; row < spec.shape.out; ++row)
      dense.scheme->unpack_row(dense.packed, row, &weight[row * spec.shape.in]);
  }
  // Of a scheme of codes, so that there is something to search.
  bool searched() const { return scheme.info().grid != nullptr; }
  // The rows of the last part: v of qkv, up of gate_up.
  std::span<float> last_rows() { return std::span(weight).last(spec.parts.back().n_rows * spec.shape.in); }
  std::span<float> last_bias() {
    return bias.empty() ? std::span<float>() : std::span(bias).last(spec.parts.back().n_rows);
  }
};

// A linear kept in 16 bits is not searched.
bool LayerQuantizer::scales(const Linear& linear) const {
  if (algorithm_.scaling == Scaling::kAwq) return linear.searched();
  return algorithm_.scaling == Scaling::kSmoothQuant && format_.scheme_of_module.count(module_name(linear.spec)) == 0;
}

std::vector<float> LayerQuantizer::find_scales(const Linear& linear, std::span<const int32_t> channel_of_input) {
  const InputStatistics& input = calibration_.statistics(linear.spec.role);
  if (algorithm_.scaling == Scaling::kAwq) {
    AwqScales found = awq_search_scales(linear.weight, input, linear.scheme, {}, pool_);
    TM_DEBUG("layer {} {}: exponent {:.2f}, output error {:.4g} rounded to nearest, {:.4g} scaled", linear.spec.layer,
             name(linear.spec.role), found.exponent, found.error_rtn, found.error);
    return std::move(found.scales);
  }
  SmoothQuantScales found = smoothquant_search(linear.weight, input, channel_of_input, linear.scheme,
                                               options_.smoothquant, options_.activations, pool_);
  TM_DEBUG("layer {} {}: alpha {:.2f}, relative output error {:.4g} unscaled, {:.4g} scaled", linear.spec.layer,
           name(linear.spec.role), found.alpha.value_or(NAN), found.error_plain, found.error);
  return std::move(found.scales);
}

// Takes the scales of a linear's inputs into its columns and its statistics; whoever makes the inputs has to divide by
// what is returned.
std::vector<float> LayerQuantizer::scale(Linear& linear, std::span<const int32_t> channel_of_input) {
  std::vector<float> scales = find_scales(linear, channel_of_input);
  multiply_columns(linear.weight, scales);
  calibration_.statistics(linear.spec.role).divide(scales);
  return scales;
}

void LayerQuantizer::fold(Linear& linear, std::vector<float>& norm) {
  if (scales(linear)) divide_rows(norm, scale(linear));
}

// row_of_input: of the previous linear's last rows; empty: input i comes from row i.
void LayerQuantizer::fold(Linear& linear, Linear& previous, std::span<const int32_t> row_of_input) {
  if (!scales(linear)) return;
  std::vector<float> of_inputs = scale(linear, row_of_input), of_rows(previous.spec.parts.back().n_rows);
  for (size_t i = 0; i < of_inputs.size(); ++i) of_rows[row_of_input.empty() ? i : row_of_input[i]] = of_inputs[i];
  divide_rows(previous.last_rows(), of_rows);
  if (!previous.bias.empty()) divide_rows(previous.last_bias(), of_rows);
}

// q and k multiply each other: clipping them is left out, as in the reference.
void LayerQuantizer::clip(Linear& linear) {
  const std::span<float> rows = linear.spec.role == LinearRole::kQkv ? linear.last_rows() : std::span(linear.weight);
  const AwqClip found = awq_clip(rows, calibration_.statistics(linear.spec.role), linear.scheme, {}, pool_);
  TM_DEBUG("layer {} {}: clipping takes the groups' errors to {:.3f} of what they were", linear.spec.layer,
           name(linear.spec.role), found.error_after / found.error_before);
}

CanonicalWeight LayerQuantizer::choose_codes(const Linear& linear) {
  if (algorithm_.rounding == Rounding::kGptq && linear.searched()) {
    CanonicalWeight weight = gptq(linear.weight, calibration_.statistics(linear.spec.role), *linear.scheme.info().grid,
                                  options_.gptq, pool_);
    if (linear.scheme.info().act_order && weight.group_of_input.empty())
      for (int64_t i = 0; i < linear.spec.shape.in; ++i)
        weight.group_of_input.push_back(static_cast<int32_t>(i / linear.scheme.info().group_size));
    return weight;
  }
  const DenseRows rows{.data = reinterpret_cast<const std::byte*>(linear.weight.data()),
                       .dtype = DType::kF32,
                       .n_rows = linear.spec.shape.out};
  return linear.scheme.quantize_rtn(std::span(&rows, 1), linear.spec.shape, pool_);
}

CanonicalLinear LayerQuantizer::finish(Linear linear, QuantizationReport& report) {
  const InputStatistics& input = calibration_.statistics(linear.spec.role);
  const OutputProbe probe(linear.weight, input.sample, input.in, pool_);
  if (algorithm_.scaling == Scaling::kAwq && linear.searched()) clip(linear);

  CanonicalLinear result{linear.spec, &linear.scheme, choose_codes(linear), std::move(linear.bias)};
  if (linear.scheme.info().static_input)
    result.weight.input_scale = activation_scale(input, linear.scheme.info().activation, options_.activations);
  if (!result.weight.dense.empty())  // moving it leaves its values where they are
    result.floats = std::make_unique<const std::vector<float>>(std::move(linear.weight));
  report.linears.push_back({module_name(result.spec), std::string(linear.scheme.info().name),
                            probe.relative_error(linear.scheme, result.weight, input.sample, pool_)});
  return result;
}

CanonicalLayer LayerQuantizer::quantize(QuantizationReport& report) {
  const LayerWeights& dense = calibration_.layer();
  CanonicalLayer result;
  result.input_norm = dense.input_norm;
  result.post_attention_norm = dense.post_attention_norm;
  result.kv_scale = calibration_.kv_scale();
  const auto linear = [&](const LinearWeight& weight) {
    return Linear(weight, linear_scheme(spec_, format_, weight.spec));
  };
  Linear qkv = linear(dense.qkv), attention_out = linear(dense.attention_out), gate_up = linear(dense.gate_up),
         down = linear(dense.down);
  fold(qkv, result.input_norm);
  // With grouped-query attention a row of v feeds several columns of o: AWQ's have one scale each.
  if (algorithm_.scaling != Scaling::kAwq || spec_.n_kv_heads == spec_.n_heads)
    fold(attention_out, qkv, rows_of_v(spec_));
  fold(gate_up, result.post_attention_norm);
  fold(down, gate_up, {});
  result.qkv = finish(std::move(qkv), report);
  result.attention_out = finish(std::move(attention_out), report);
  result.gate_up = finish(std::move(gate_up), report);
  result.down = finish(std::move(down), report);
  return result;
}

}  // namespace trimeter
