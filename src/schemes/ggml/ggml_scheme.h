// Weights in ggml's blocks, multiplied as ggml multiplies them: both sides in 8-bit integers or fewer.
//   activations  of a token, in groups as wide as the weight's block: q = nearest(x 127 / amax), ties to even;
//                scale amax / 127, rounded to a half in groups of 32 (ggml's q8_0), a float in groups of 256 (q8_K)
//   y[t, row] = sum over blocks of d_x sum_s (d scale_s (q . x)_s - m min_s (sum x)_s), integers exact
// In memory: the bytes of the rows' blocks, 16 rows interleaved (schemes/ggml/panel.h), rows padded with zeros.
#pragma once
#include "schemes/scheme.h"
#include "tensor/ggml_type.h"

namespace trimeter {

// The scheme that multiplies tensors of this type, those of floats included; nullptr if there is none.
const Scheme* scheme_of(GgmlType type);
// What a GGUF file holds this scheme's weights as; nullopt if it has no such type.
std::optional<GgmlType> ggml_type_of(const Scheme& scheme);

}  // namespace trimeter
