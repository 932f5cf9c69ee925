// Reads rows of stacked matrices of floats where they lie.
#pragma once
#include <cstdint>
#include <span>

#include "schemes/scheme.h"

namespace trimeter {

// Throws Error(kBadArgument) if the parts' rows don't add up to shape.out or a dtype is not a 16- or 32-bit float.
void check_parts(std::span<const DenseRows> parts, MatShape shape);
// Row `row` of the stack, as float; parts are those of a shape that check_parts accepts.
void read_row(std::span<const DenseRows> parts, MatShape shape, int64_t row, float* values);
// Likewise; throws Error(kBadFile) with row and column of an infinity or NaN.
void read_finite_row(std::span<const DenseRows> parts, MatShape shape, int64_t row, float* values);

}  // namespace trimeter
