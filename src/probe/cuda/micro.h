// The probe's own kernels.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>

namespace trimeter::cuda {

// Reads all of it, 16 bytes a thread at a time, and writes what no compiler can leave out: sums, of read_sums() f32.
void read_all(const void* data, int64_t bytes, float* sums, cudaStream_t stream);
int64_t read_sums();
// Next to nothing.
void touch(float* value, cudaStream_t stream);

}  // namespace trimeter::cuda
