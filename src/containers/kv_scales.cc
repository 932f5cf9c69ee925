#include "containers/kv_scales.h"

#include <string_view>

namespace trimeter {

bool is_kv_scale(const std::string& tensor) {
  if (tensor.find(".self_attn.") == tensor.npos) return false;
  for (const std::string_view end : {".k_scale", ".v_scale", ".q_scale", ".prob_scale", ".kv_scale",
                                     ".k_proj.output_scale", ".v_proj.output_scale", ".q_proj.output_scale"})
    if (tensor.ends_with(end)) return true;
  return false;
}

}  // namespace trimeter
