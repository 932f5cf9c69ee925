#include "containers/kv_scales.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "containers/packing.h"

namespace trimeter {
namespace {

// {}: k or v. Those that end in kv_scale are of both.
constexpr std::string_view kNames[] = {"{0}_scale",          "attn.{0}_scale", "{0}_proj.output_scale",
                                       "{0}_proj.{0}_scale", "kv_scale",       "attn.kv_scale"};

std::string attention(int layer) { return fmt::format("model.layers.{}.self_attn.", layer); }

float read_one(const Checkpoint& checkpoint, int layer, char which) {
  const std::string prefix = attention(layer);
  for (const std::string_view name : kNames)
    if (const std::string tensor = prefix + fmt::format(fmt::runtime(name), which); checkpoint.has(tensor))
      return read_scale(checkpoint, tensor);
  checkpoint.at(fmt::format("{}{}_scale", prefix, which));
  TM_CHECK(false, "{}: there is a {}_scale after all", prefix, which);
}

}  // namespace

bool is_kv_scale(const std::string& tensor) {
  if (tensor.find(".self_attn.") == tensor.npos) return false;
  for (const std::string_view end : {".k_scale", ".v_scale", ".q_scale", ".prob_scale", ".kv_scale",
                                     ".k_proj.output_scale", ".v_proj.output_scale", ".q_proj.output_scale"})
    if (tensor.ends_with(end)) return true;
  return false;
}

bool has_kv_scales(const Checkpoint& checkpoint) {
  return std::ranges::any_of(checkpoint.tensors(), [](const auto& entry) {
    const std::string& tensor = entry.first;
    return is_kv_scale(tensor) && !tensor.ends_with(".q_scale") && !tensor.ends_with(".q_proj.output_scale") &&
           !tensor.ends_with(".prob_scale");
  });
}

KvScale read_kv_scale(const Checkpoint& checkpoint, int layer) {
  return {read_one(checkpoint, layer, 'k'), read_one(checkpoint, layer, 'v')};
}

std::vector<TensorInfo> kv_scale_tensors(int layer) {
  return {{attention(layer) + "k_scale", DType::kF32, {1}}, {attention(layer) + "v_scale", DType::kF32, {1}}};
}

void write_kv_scale(KvScale scale, int layer, const EmitTensor& emit) {
  const std::vector<TensorInfo> infos = kv_scale_tensors(layer);
  emit(infos[0], encoded({scale.k}, DType::kF32));
  emit(infos[1], encoded({scale.v}, DType::kF32));
}

}  // namespace trimeter
