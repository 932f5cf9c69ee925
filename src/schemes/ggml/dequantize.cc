#include <cstring>

#include "base/error.h"
#include "schemes/ggml/blocks.h"
#include "schemes/ggml/codec.h"

namespace trimeter {
namespace {

template <class B>
void dequantize_blocks(const uint8_t* blocks, int64_t n, float* values) {
  typename B::Decoded block;
  for (int64_t begin = 0; begin < n; begin += B::kValues, blocks += B::kBytes) {
    ggml::decode(B{}, blocks, block);
    ggml::dequantize<B>(block, values + begin);
  }
}

template <class Element, class Decode>
void decode_floats(const uint8_t* data, int64_t n, float* values, Decode decode) {
  for (int64_t i = 0; i < n; ++i) {
    Element element;
    std::memcpy(&element, data + i * static_cast<int64_t>(sizeof element), sizeof element);
    values[i] = decode(element);
  }
}

}  // namespace

bool has_ggml_codec(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
    case GgmlType::kF16:
    case GgmlType::kBF16:
    case GgmlType::kQ8_0:
    case GgmlType::kQ4_0:
    case GgmlType::kQ4_1:
    case GgmlType::kQ5_0:
    case GgmlType::kQ5_1:
    case GgmlType::kQ2_K:
    case GgmlType::kQ3_K:
    case GgmlType::kQ4_K:
    case GgmlType::kQ5_K:
    case GgmlType::kQ6_K:
      return true;
  }
  return false;
}

void dequantize_ggml(GgmlType type, const uint8_t* blocks, int64_t n, float* values) {
  switch (type) {
    case GgmlType::kF32:
      return decode_floats<uint32_t>(blocks, n, values, float_from_bits);
    case GgmlType::kF16:
      return decode_floats<uint16_t>(blocks, n, values, f16_to_float);
    case GgmlType::kBF16:
      return decode_floats<uint16_t>(blocks, n, values, bf16_to_float);
    case GgmlType::kQ8_0:
      return dequantize_blocks<ggml::Q8_0>(blocks, n, values);
    case GgmlType::kQ4_0:
      return dequantize_blocks<ggml::Q4_0>(blocks, n, values);
    case GgmlType::kQ4_1:
      return dequantize_blocks<ggml::Q4_1>(blocks, n, values);
    case GgmlType::kQ5_0:
      return dequantize_blocks<ggml::Q5_0>(blocks, n, values);
    case GgmlType::kQ5_1:
      return dequantize_blocks<ggml::Q5_1>(blocks, n, values);
    case GgmlType::kQ2_K:
      return dequantize_blocks<ggml::Q2_K>(blocks, n, values);
    case GgmlType::kQ3_K:
      return dequantize_blocks<ggml::Q3_K>(blocks, n, values);
    case GgmlType::kQ4_K:
      return dequantize_blocks<ggml::Q4_K>(blocks, n, values);
    case GgmlType::kQ5_K:
      return dequantize_blocks<ggml::Q5_K>(blocks, n, values);
    case GgmlType::kQ6_K:
      return dequantize_blocks<ggml::Q6_K>(blocks, n, values);
  }
  TM_CHECK(false, "ggml type {}", static_cast<uint32_t>(type));
}

}  // namespace trimeter
