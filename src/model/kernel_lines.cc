#include "model/kernel_lines.h"

#include <fmt/ranges.h>

#include <map>

#include "schemes/gpu_plan.h"
#include "spec/ledger.h"

namespace trimeter {
namespace {

// Attention is computed in floats, on a card in its tensor cores' bf16, whatever its cache is held in.
std::string kv_cache_line(const Format& format, Target target) {
  const bool fp8 = format.kv_dtype == DType::kF8E4M3;
  return fmt::format("kv_cache: attention.{}: {} stored, {} executed: scales {}", name(target), fp8 ? "fp8" : "int8",
                     target.is_gpu() ? "bf16" : "fp32",
                     !fp8                      ? "for each token and head"
                     : format.kv_scales_stored ? "of the checkpoint"
                                               : "calibrated for each layer");
}

}  // namespace

std::vector<std::string> kernel_lines(const ModelSpec& spec, const Format& format, Target target) {
  std::vector<std::string> lines;
  const auto add = [&](const std::string& who, const Scheme& scheme, MatShape shape) {
    const KernelPlan plan = plan_on(scheme, shape, target);
    lines.push_back(fmt::format("{}: {}: {} requested, {} executed{}{}", who, plan.kernel, plan.requested,
                                plan.executed, plan.reason.empty() ? "" : ": ", plan.reason));
  };
  const size_t n_roles = spec.linears_of_layer(0).size();
  for (size_t role = 0; role < n_roles; ++role) {
    std::map<const Scheme*, std::vector<int>> layers_of;
    for (int layer = 0; layer < spec.n_layers; ++layer)
      layers_of[&linear_scheme(spec, format, spec.linears_of_layer(layer)[role])].push_back(layer);
    const LinearSpec linear = spec.linears_of_layer(0)[role];
    const std::string_view who = name(linear.role);
    for (const auto& [scheme, layers] : layers_of)
      add(layers_of.size() == 1 ? std::string(who) : fmt::format("{} of layers {}", who, fmt::join(layers, " ")),
          *scheme, linear.shape);
  }
  const LinearSpec head = spec.lm_head();
  add(std::string(name(head.role)), linear_scheme(spec, format, head), head.shape);
  if (format.kv_dtype) lines.push_back(kv_cache_line(format, target));
  return lines;
}

}  // namespace trimeter
