// What the programs of this folder share: device arrays, random numbers that host and device agree on, decoding.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#define CHECK_CUDA(call)                                                                               \
  do {                                                                                                 \
    if (const cudaError_t status_ = (call); status_ != cudaSuccess) {                                  \
      std::fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(status_)); \
      std::exit(1);                                                                                    \
    }                                                                                                  \
  } while (false)

template <class T>
class Device {
 public:
  explicit Device(int64_t n, int poison = 0xff) : n_(n) {
    CHECK_CUDA(cudaMalloc(&data_, std::max<int64_t>(n, 1) * sizeof(T)));
    CHECK_CUDA(cudaMemset(data_, poison, n * sizeof(T)));
  }
  explicit Device(const std::vector<T>& host) : Device(static_cast<int64_t>(host.size())) {
    CHECK_CUDA(cudaMemcpy(data_, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  Device(Device&& other) : data_(other.data_), n_(other.n_) { other.data_ = nullptr; }
  Device& operator=(Device&& other) {
    std::swap(data_, other.data_);
    std::swap(n_, other.n_);
    return *this;
  }
  ~Device() { cudaFree(data_); }
  T* get() const { return data_; }
  int64_t size() const { return n_; }
  std::vector<T> host() const {
    std::vector<T> out(n_);
    CHECK_CUDA(cudaMemcpy(out.data(), data_, n_ * sizeof(T), cudaMemcpyDeviceToHost));
    return out;
  }

 private:
  T* data_ = nullptr;
  int64_t n_ = 0;
};

// splitmix64 of an index: a random number that needs no state.
__host__ __device__ inline uint64_t random_bits(uint64_t seed, uint64_t i) {
  uint64_t z = seed * 0x9e3779b97f4a7c15ull + i * 0xbf58476d1ce4e5b9ull + 0x94d049bb133111ebull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}
// Roughly normal, mean 0, deviation 1: a sum of four uniform numbers.
__host__ __device__ inline float random_normal(uint64_t seed, uint64_t i) {
  const uint64_t bits = random_bits(seed, i);
  float sum = 0;
  for (int j = 0; j < 4; j++) sum += static_cast<float>((bits >> (16 * j)) & 0xffff) / 65536.0f - 0.5f;
  return sum * 1.7320508f;
}

inline float bf16_value(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  memcpy(&value, &wide, 4);
  return value;
}
inline uint16_t bf16_bits(float value) { return __bfloat16_as_ushort(__float2bfloat16_rn(value)); }

inline float e4m3_value(uint8_t code) { return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3))); }
inline uint8_t e4m3_code(float value) { return __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3); }
