#include "model/float_tensor.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "tensor/numeric.h"

namespace trimeter {
namespace {

constexpr int64_t kRun = 1024;  // values converted at a time

template <class Stored, class Decode>
void decode_all(const std::byte* data, int64_t n, float* values, Decode decode) {
  for (int64_t i = 0; i < n; ++i) {
    Stored stored;
    std::memcpy(&stored, data + i * int64_t{sizeof stored}, sizeof stored);
    values[i] = decode(stored);
  }
}

template <class Stored, class Encode>
void encode_all(const float* values, int64_t n, std::byte* data, Encode encode) {
  for (int64_t i = 0; i < n; ++i) {
    const Stored stored = encode(values[i]);
    std::memcpy(data + i * int64_t{sizeof stored}, &stored, sizeof stored);
  }
}

// Without their sign, the bits of floats are ordered as their magnitudes, infinity and then NaN above all others.
template <class Bits>
Bits largest_bits(const std::byte* data, int64_t n) {
  constexpr auto kMagnitude = static_cast<Bits>(std::numeric_limits<Bits>::max() >> 1);
  Bits largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    Bits bits;
    std::memcpy(&bits, data + i * int64_t{sizeof bits}, sizeof bits);
    largest = std::max(largest, static_cast<Bits>(bits & kMagnitude));
  }
  return largest;
}

// The largest magnitude of [begin, end); infinity or NaN if any value is.
float largest_magnitude(const TensorView& tensor, int64_t begin, int64_t end) {
  const std::byte* data = tensor.bytes.data() + begin * size_of(tensor.dtype);
  if (tensor.dtype == DType::kF32) return std::bit_cast<float>(largest_bits<uint32_t>(data, end - begin));
  const uint16_t bits = largest_bits<uint16_t>(data, end - begin);
  return tensor.dtype == DType::kBF16 ? bf16_to_float(bits) : f16_to_float(bits);
}

}  // namespace

void floats_from(const std::byte* data, DType dtype, int64_t n, float* values) {
  if (dtype == DType::kBF16) return decode_all<uint16_t>(data, n, values, bf16_to_float);
  if (dtype == DType::kF16) return decode_all<uint16_t>(data, n, values, f16_to_float);
  TM_CHECK(dtype == DType::kF32, "floats of {}", name(dtype));
  std::memcpy(values, data, static_cast<size_t>(n) * sizeof(float));
}

void floats_to(const float* values, int64_t n, DType dtype, std::byte* data) {
  if (dtype == DType::kBF16) return encode_all<uint16_t>(values, n, data, bf16_from_float);
  if (dtype == DType::kF16) return encode_all<uint16_t>(values, n, data, f16_from_float);
  TM_CHECK(dtype == DType::kF32, "floats as {}", name(dtype));
  std::memcpy(data, values, static_cast<size_t>(n) * sizeof(float));
}

std::vector<float> read_floats(const TensorView& tensor, ThreadPool& pool) {
  check_floats(tensor, pool);
  std::vector<float> values(static_cast<size_t>(tensor.n_elements()));
  floats_from(tensor.bytes.data(), tensor.dtype, tensor.n_elements(), values.data());
  release(tensor);
  return values;
}

void check_floats(const TensorView& tensor, ThreadPool& pool, float limit, std::string_view what) {
  const std::string path = tensor.file->path().string();
  if (tensor.dtype != DType::kBF16 && tensor.dtype != DType::kF16 && tensor.dtype != DType::kF32)
    throw Error(Errc::kBadFile, "{}: tensor '{}': wanted BF16, F16 or F32, got {}", path, tensor.name,
                name(tensor.dtype));
  std::vector<float> largest(static_cast<size_t>(pool.size()));
  pool.run([&](int thread) {
    const auto [begin, end] = pool.share(tensor.n_elements(), thread, kRun);
    largest[static_cast<size_t>(thread)] = largest_magnitude(tensor, begin, end);
  });
  if (!std::ranges::all_of(largest, [](float magnitude) { return std::isfinite(magnitude); }))
    throw Error(Errc::kBadFile, "{}: tensor '{}': wanted finite values, got an infinity or NaN", path, tensor.name);
  const float found = std::ranges::max(largest);
  if (found > limit)
    throw Error(Errc::kUnsupported, "{}: tensor '{}': wanted values up to {}, the largest that {} has, got {}", path,
                tensor.name, limit, what, found);
}

void check_floats(const TensorView& tensor, ThreadPool& pool) {
  check_floats(tensor, pool, std::numeric_limits<float>::max(), "float");
}

void release(const TensorView& tensor) {
  tensor.file->release(tensor.bytes.data(), static_cast<int64_t>(tensor.bytes.size()));
}

}  // namespace trimeter
