#include "schemes/dense.h"

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

template <class Element, class Decode>
void decode_row(const std::byte* data, int64_t n, float* values, Decode decode) {
  for (int64_t i = 0; i < n; ++i) {
    Element element;
    std::memcpy(&element, data + i * static_cast<int64_t>(sizeof element), sizeof element);
    values[i] = decode(element);
  }
}

}  // namespace

void check_parts(std::span<const DenseRows> parts, MatShape shape) {
  int64_t n_rows = 0;
  for (const DenseRows& part : parts) {
    n_rows += part.n_rows;
    if (part.dtype != DType::kBF16 && part.dtype != DType::kF16 && part.dtype != DType::kF32)
      throw Error(Errc::kBadArgument, "weight of {} x {}: wanted BF16, F16 or F32, got {}", shape.out, shape.in,
                  name(part.dtype));
  }
  if (n_rows != shape.out)
    throw Error(Errc::kBadArgument, "weight of {} x {}: its parts have {} rows", shape.out, shape.in, n_rows);
}

void read_row(std::span<const DenseRows> parts, MatShape shape, int64_t row, float* values) {
  for (const DenseRows& part : parts) {
    if (row >= part.n_rows) {
      row -= part.n_rows;
      continue;
    }
    const std::byte* data = part.data + row * shape.in * size_of(part.dtype);
    if (part.dtype == DType::kBF16) return decode_row<uint16_t>(data, shape.in, values, bf16_to_float);
    if (part.dtype == DType::kF16) return decode_row<uint16_t>(data, shape.in, values, f16_to_float);
    return decode_row<uint32_t>(data, shape.in, values, float_from_bits);
  }
  TM_CHECK(false, "row {} past the end of {} x {}", row, shape.out, shape.in);
}

void read_finite_row(std::span<const DenseRows> parts, MatShape shape, int64_t row, float* values) {
  read_row(parts, shape, row, values);
  for (int64_t k = 0; k < shape.in; ++k)
    if (!std::isfinite(values[k]))
      throw Error(Errc::kBadFile, "weight of {} x {}: wanted finite values, got {} at [{}, {}]", shape.out, shape.in,
                  values[k], row, k);
}

}  // namespace trimeter
