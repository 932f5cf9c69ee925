#include <cuda_bf16.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/ptx.cuh"

namespace trimeter::cuda {
namespace {

constexpr int kThreads = 256;

struct Codes {
  const uint8_t* codes;
  const int32_t* order;
  int64_t first_row, n_rows, n, k;

  // 0 (or `padding`) outside the matrix.
  __device__ uint8_t at(int64_t row, int64_t column, uint8_t padding) const {
    if (row >= n || column >= k) return padding;
    return codes[(row - first_row) * k + (order != nullptr ? order[column] : column)];
  }
};

int blocks_for(int64_t items) { return static_cast<int>(ceil_div(items, kThreads)); }
__device__ int64_t item() { return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; }

// Where byte `at` of a row of a wide form comes from.
__device__ int64_t wide_column(int64_t at) {
  const int64_t within = at % 64;
  return at - within + (within % 16 / 8) * 32 + within / 16 * 8 + within % 8;
}

__global__ void pack_bytes_kernel(Codes from, int64_t row_bytes, bool wide, uint8_t flip, uint8_t* values) {
  const int64_t i = item(), row = from.first_row + i / row_bytes, at = i % row_bytes;
  if (row >= from.first_row + from.n_rows) return;
  values[row * row_bytes + at] = from.at(row, wide ? wide_column(at) : at, flip) ^ flip;
}

// A thread packs eight codes: half c of the row g or g + 8 of a lane.
__global__ void pack_i4_kernel(Codes from, int64_t n_segments, uint32_t* values) {
  const int64_t i = item(), tile = i / 128, word = i % 128;
  const int64_t first_tile = from.first_row / 16;
  if (tile >= (from.n_rows + 15) / 16 * n_segments) return;
  const int64_t lane = word / 4, half = word % 2,
                row = (first_tile + tile / n_segments) * 16 + lane / 4 + word % 4 / 2 * 8;
  const int64_t column = tile % n_segments * 64 + half * 32 + lane % 4 * 8;
  uint32_t packed = 0;
  for (int p = 0; p < 4; p++) {
    packed |= static_cast<uint32_t>(from.at(row, column + 2 * p, 0)) << (4 * p);
    packed |= static_cast<uint32_t>(from.at(row, column + 2 * p + 1, 0)) << (4 * p + 16);
  }
  values[first_tile * n_segments * 128 + i] = packed;
}

__global__ void pack_scales_kernel(const float* scales, int64_t n, int64_t n_padded, int64_t n_groups, bool bf16,
                                   uint16_t* packed) {
  const int64_t i = item(), group = i / n_padded, row = i % n_padded;
  if (group >= n_groups) return;
  const float scale = row < n ? scales[row * n_groups + group] : 0.0f;
  const __nv_bfloat16 as_bf16 = __float2bfloat16_rn(scale);
  const __half as_half = __float2half_rn(scale);
  packed[i] = bf16 ? __bfloat16_as_ushort(as_bf16) : __half_as_ushort(as_half);
}
__global__ void pack_zeros_kernel(const uint8_t* zeros, int64_t n, int64_t n_padded, int64_t n_groups,
                                  uint8_t* packed) {
  const int64_t i = item(), group = i / (n_padded / 2), row = i % (n_padded / 2) * 2;
  if (group >= n_groups) return;
  const auto zero = [&](int64_t r) { return r < n ? zeros[r * n_groups + group] : 0; };
  packed[i] = static_cast<uint8_t>(zero(row) | zero(row + 1) << 4);
}

struct WidenArgs {
  DeviceMatrix w;
  int64_t first_row, n_rows, n_padded, n_segments;
};
__device__ float scale_of(const DeviceMatrix& w, int64_t n_padded, int64_t row, int64_t column) {
  switch (w.scale_form) {
    case ScaleForm::kTensor:
      return static_cast<const float*>(w.scales)[0];
    case ScaleForm::kRow:
      return static_cast<const float*>(w.scales)[row];
    case ScaleForm::kBlock128:
      return static_cast<const float*>(w.scales)[row / 128 * (((w.k + 127) / 128 + 3) / 4 * 4) + column / 128];
    case ScaleForm::kGroup: {
      const uint16_t bits = static_cast<const uint16_t*>(w.scales)[column / w.group * n_padded + row];
      return w.scale_dtype == DType::kBF16 ? __uint_as_float(static_cast<uint32_t>(bits) << 16)
                                           : __half2float(__ushort_as_half(bits));
    }
    case ScaleForm::kNone:
      break;
  }
  return 1;
}
// A thread widens a lane's eight k's of one row: 16 bytes of bf16.
__global__ void widen_kernel(const __grid_constant__ WidenArgs args, __nv_bfloat16* to) {
  const DeviceMatrix& w = args.w;
  const int64_t runs = args.n_segments * 8, i = item(), row = args.first_row + i / runs, run = i % runs;
  const int64_t segment = run / 8, c = run % 8 / 4, q = run % 4, column = run * 8;
  if (row >= args.first_row + args.n_rows || column >= w.k) return;
  const float scale = scale_of(w, args.n_padded, row, column);
  uint32_t pairs[4];
  if (w.form == WeightForm::kI4) {
    const int64_t lane = row % 8 * 4 + q, word = lane * 4 + row % 16 / 8 * 2 + c;
    const uint32_t codes = static_cast<const uint32_t*>(w.values)[(row / 16 * args.n_segments + segment) * 128 + word];
    uint32_t zero = 8;
    if (w.zeros != nullptr) {
      const int64_t at = (column / w.group * args.n_padded + row) / 2;
      zero = static_cast<const uint8_t*>(w.zeros)[at] >> (row % 2 * 4) & 15;
    }
    for (int p = 0; p < 4; p++) pairs[p] = int4_pair_to_bf16(codes, p, (0x4300u | zero) * 0x10001u);
  } else {
    const char* at = static_cast<const char*>(w.values) + row * args.n_segments * 64 + segment * 64 + q * 16 + c * 8;
    const uint2 codes = *reinterpret_cast<const uint2*>(at);
    if (w.form == WeightForm::kI8Wide) {
      int8x4_to_bf16(codes.x, pairs[0], pairs[1]);
      int8x4_to_bf16(codes.y, pairs[2], pairs[3]);
    } else {
      e4m3x4_to_bf16(codes.x, pairs[0], pairs[1]);
      e4m3x4_to_bf16(codes.y, pairs[2], pairs[3]);
    }
  }
  for (uint32_t& pair : pairs)
    pair = pack_bf16x2(__uint_as_float(pair << 16) * scale, __uint_as_float(pair & 0xffff0000u) * scale);
  __nv_bfloat16* out = to + (row - args.first_row) * w.k + column;
  *reinterpret_cast<uint4*>(out) = make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

}  // namespace

int64_t matrix_values_bytes(WeightForm form, int64_t n, int64_t k) {
  switch (form) {
    case WeightForm::kF32:
      return n * k * 4;
    case WeightForm::kF16:
    case WeightForm::kBF16:
      return n * k * 2;
    case WeightForm::kE4M3:
    case WeightForm::kI8:
      return n * k;
    case WeightForm::kE4M3Wide:
    case WeightForm::kI8Wide:
      return n * round_up(k, 64);
    case WeightForm::kI4:
      return round_up(n, 16) * round_up(k, 64) / 2;
  }
  return 0;
}

void pack_codes(WeightForm form, const uint8_t* codes, const int32_t* column_order, int64_t first_row, int64_t n_rows,
                int64_t n, int64_t k, void* values, cudaStream_t stream) {
  const Codes from{codes, column_order, first_row, n_rows, n, k};
  const bool wide = form == WeightForm::kE4M3Wide || form == WeightForm::kI8Wide;
  if (form == WeightForm::kI4) {
    const int64_t n_segments = ceil_div(k, 64), words = ceil_div(n_rows, 16) * n_segments * 128;
    pack_i4_kernel<<<blocks_for(words), kThreads, 0, stream>>>(from, n_segments, static_cast<uint32_t*>(values));
  } else if (wide || form == WeightForm::kE4M3 || form == WeightForm::kI8) {
    const bool integers = form == WeightForm::kI8 || form == WeightForm::kI8Wide;
    const int64_t row_bytes = wide ? round_up(k, 64) : k;
    pack_bytes_kernel<<<blocks_for(n_rows * row_bytes), kThreads, 0, stream>>>(
        from, row_bytes, wide, integers ? 0x80 : 0, static_cast<uint8_t*>(values));
  } else {
    unsupported("packing codes of floats");
  }
  check_launch("pack_codes");
}

void pack_group_scales(const float* scales, const uint8_t* zeros, int64_t n, int64_t n_groups, DType scale_dtype,
                       void* packed_scales, void* packed_zeros, cudaStream_t stream) {
  const int64_t n_padded = round_up(n, 16);
  pack_scales_kernel<<<blocks_for(n_groups * n_padded), kThreads, 0, stream>>>(
      scales, n, n_padded, n_groups, scale_dtype == DType::kBF16, static_cast<uint16_t*>(packed_scales));
  if (zeros != nullptr)
    pack_zeros_kernel<<<blocks_for(n_groups * n_padded / 2), kThreads, 0, stream>>>(
        zeros, n, n_padded, n_groups, static_cast<uint8_t*>(packed_zeros));
  check_launch("pack_group_scales");
}

void widen_rows(const DeviceMatrix& w, int64_t first_row, int64_t n_rows, void* to, cudaStream_t stream) {
  const WidenArgs args{w, first_row, n_rows, round_up(w.n, 16), ceil_div(w.k, 64)};
  widen_kernel<<<blocks_for(n_rows * args.n_segments * 8), kThreads, 0, stream>>>(args,
                                                                                  static_cast<__nv_bfloat16*>(to));
  check_launch("widen_rows");
}

}  // namespace trimeter::cuda
