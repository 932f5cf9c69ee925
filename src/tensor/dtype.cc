#include "tensor/dtype.h"

namespace trimeter {
namespace {

struct Row {
  DType dtype;
  int64_t bytes;
  std::string_view name, torch_name;
};
constexpr Row kRows[] = {
    {DType::kF32, 4, "F32", "float32"},  {DType::kF16, 2, "F16", "float16"},
    {DType::kBF16, 2, "BF16", "bfloat16"}, {DType::kF8E4M3, 1, "F8_E4M3", "float8_e4m3fn"},
    {DType::kF8E5M2, 1, "F8_E5M2", "float8_e5m2"}, {DType::kI8, 1, "I8", "int8"},
    {DType::kU8, 1, "U8", "uint8"},      {DType::kI16, 2, "I16", "int16"},
    {DType::kU16, 2, "U16", "uint16"},   {DType::kI32, 4, "I32", "int32"},
    {DType::kU32, 4, "U32", "uint32"},   {DType::kI64, 8, "I64", "int64"},
    {DType::kU64, 8, "U64", "uint64"},   {DType::kBool, 1, "BOOL", "bool"},
    {DType::kF64, 8, "F64", "float64"},
};
constexpr bool in_enum_order() {
  int i = 0;
  for (const Row& row : kRows)
    if (static_cast<int>(row.dtype) != i++) return false;
  return true;
}
static_assert(in_enum_order());

}  // namespace

int64_t size_of(DType dtype) { return kRows[static_cast<int>(dtype)].bytes; }
std::string_view name(DType dtype) { return kRows[static_cast<int>(dtype)].name; }
std::string_view torch_name(DType dtype) { return kRows[static_cast<int>(dtype)].torch_name; }

std::optional<DType> dtype_from_name(std::string_view wanted) {
  for (const Row& row : kRows)
    if (row.name == wanted) return row.dtype;
  return std::nullopt;
}

std::optional<DType> dtype_from_torch_name(std::string_view wanted) {
  for (const Row& row : kRows)
    if (row.torch_name == wanted) return row.dtype;
  return std::nullopt;
}

}  // namespace trimeter
