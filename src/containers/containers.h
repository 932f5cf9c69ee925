// The list of containers: one file each.
#pragma once
#include "containers/container.h"

namespace trimeter {

const Container& autoawq_container();             // autoawq.cc
const Container& gptq_container();                // gptq.cc
const Container& gptq_v2_container();             // gptq.cc
const Container& compressed_tensors_container();  // compressed_tensors.cc
const Container& vllm_fp8_container();            // vllm_fp8.cc

}  // namespace trimeter
