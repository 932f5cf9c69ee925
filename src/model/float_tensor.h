// Tensors of floats as the checkpoint has them: BF16, F16 or F32, unaligned in the mapped file.
#pragma once
#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "io/safetensors.h"

namespace trimeter {

// dtype: kBF16, kF16 or kF32; data may have any alignment.
void floats_from(const std::byte* data, DType dtype, int64_t n, float* values);
// Rounds to nearest, ties to even.
void floats_to(const float* values, int64_t n, DType dtype, std::byte* data);

// All of a tensor. Throws as check_floats.
std::vector<float> read_floats(const TensorView& tensor, ThreadPool& pool);

// Throws Error(kBadFile), naming file and tensor, if its dtype isn't one of the three or a value is not finite;
// Error(kUnsupported) if a value's magnitude exceeds `limit`, which `what` has.
void check_floats(const TensorView& tensor, ThreadPool& pool, float limit, std::string_view what);
void check_floats(const TensorView& tensor, ThreadPool& pool);

// The file's pages under this tensor, given back.
void release(const TensorView& tensor);

}  // namespace trimeter
