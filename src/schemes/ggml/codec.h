// Rows of ggml blocks from and to floats.
#pragma once
#include <cstdint>

#include "tensor/ggml_type.h"

namespace trimeter {

// Can it be read and written here? The types of schemes/ggml/blocks.h, and f32, f16, bf16.
bool has_ggml_codec(GgmlType type);

// n is a multiple of the block. Bit for bit what ggml's dequantize_row_* and the gguf package give.
void dequantize_ggml(GgmlType type, const uint8_t* blocks, int64_t n, float* values);

// The same blocks as ggml's quantize_row_*_ref, i.e. as llama-quantize without an importance matrix: the same
// candidates in the same order, every sum in the same order of float additions. values are finite and below 65504 in
// size: scales are halves. Cost per value: a search of 16 to 21 candidate scales for the K types.
void quantize_ggml(GgmlType type, const float* values, int64_t n, uint8_t* blocks);

}  // namespace trimeter
