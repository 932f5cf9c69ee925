#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

namespace trimeter {

enum class DType : uint8_t { kF32, kF16, kBF16, kF8E4M3, kF8E5M2, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kU64, kBool, kF64 };

int64_t size_of(DType dtype);                                       // bytes
std::string_view name(DType dtype);                                 // safetensors' name: "BF16", "F8_E4M3"
std::string_view torch_name(DType dtype);                           // "bfloat16", "float8_e4m3fn"
std::optional<DType> dtype_from_name(std::string_view name);        // safetensors' names
std::optional<DType> dtype_from_torch_name(std::string_view name);  // config.json's torch_dtype / dtype

}  // namespace trimeter
