#include <algorithm>

#include "kernels/cuda/int4_matmul.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/lt_matmul.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/stream_matmul.h"
#include "kernels/cuda/wgmma_matmul.h"
#include "kernels/gpu_scratch.h"

namespace trimeter::cuda {
namespace {

constexpr int kThreads = 256;
// Widened rows, and sums of int8, at a time: they stay in the L2 cache between the kernel that writes them and the
// next.
constexpr int64_t kPieceBytes = 32 << 20;

__global__ void add_bias_kernel(const float* bias, int64_t n, float* y, int64_t ldy) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= n) return;
  y[blockIdx.y * ldy + row] += bias[row];
}

// y (+)= token scale * (row scale * integers) + bias
struct ScaleArgs {
  const int32_t* integers;
  const float *token_scales, *row_scales, *bias;
  float token_scale;
  bool per_row, accumulate;
  int64_t n, ldy;
};
__global__ void scale_kernel(ScaleArgs args, float* y) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x, token = blockIdx.y;
  if (row >= args.n) return;
  const float token_scale = args.token_scales != nullptr ? args.token_scales[token] : args.token_scale;
  const float product =
      token_scale * (args.row_scales[args.per_row ? row : 0] * static_cast<float>(args.integers[token * args.n + row]));
  const float value = product + (args.bias != nullptr ? args.bias[row] : 0.0f);
  float* to = y + token * args.ldy + row;
  *to = args.accumulate ? *to + value : value;
}

__global__ void fill_kernel(float* to, int64_t n, const float* value, float constant) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) to[i] = value != nullptr ? *value : constant;
}
const float* filled(char*& room, int64_t n, const float* value, float constant, cudaStream_t stream) {
  float* to = reinterpret_cast<float*>(room);
  room += round_up(n * 4, 256);
  fill_kernel<<<static_cast<unsigned>(ceil_div(n, kThreads)), kThreads, 0, stream>>>(to, n, value, constant);
  return to;
}
dim3 by_token(int64_t n, int64_t n_tokens) {
  return dim3(static_cast<unsigned>(ceil_div(n, kThreads)), static_cast<unsigned>(n_tokens));
}

int64_t rows_widened_at_once(int64_t n, int64_t k) {
  return std::min(round_up(n, 16), std::max<int64_t>(kPieceBytes / (2 * k) / 128 * 128, 128));
}

struct Product {
  const DeviceMatrix& w;
  const DeviceInput& x;
  const float* bias;
  bool accumulate;
  float* y;
  int64_t ldy;
  char* room;  // behind the counters
  cudaStream_t stream;

  void integers() const;
  bool floats();  // false: cuBLASLt has no algorithm
  void widened();
};

void Product::integers() const {
  int32_t* sums = reinterpret_cast<int32_t*>(room + kLtWorkspaceBytes);
  const bool fixed = x.form == InputForm::kI8Static;
  const int64_t step = std::max<int64_t>(kPieceBytes / (4 * w.n), 1);
  for (int64_t t = 0; t < x.n_tokens; t += step) {
    DeviceInput part = x;
    part.n_tokens = std::min(step, x.n_tokens - t);
    part.values = static_cast<char*>(x.values) + t * x.in;
    if (!lt_matmul(w, part, false, nullptr, w.n, sums, room, stream)) unsupported("int8 of this shape in cuBLASLt");
    const ScaleArgs args{sums,
                         fixed ? nullptr : x.scales + t,
                         static_cast<const float*>(w.scales),
                         bias,
                         x.static_scale,
                         w.scale_form == ScaleForm::kRow,
                         accumulate,
                         w.n,
                         ldy};
    scale_kernel<<<by_token(w.n, part.n_tokens), kThreads, 0, stream>>>(args, y + t * ldy);
    check_launch("scale");
  }
}

bool Product::floats() {
  DeviceMatrix scaled = w;
  DeviceInput input = x;
  char* at = room + kLtWorkspaceBytes;
  const int64_t scale_rows = token_scale_rows(w, x.n_tokens);
  const bool fixed = x.form == InputForm::kE4M3Static;
  if (scale_rows > 1 && (fixed || x.scale_rows == scale_rows)) {
    scaled.scale_form = ScaleForm::kBlock128;
    scaled.scales = w.block_scales;
  }
  if (scaled.form == WeightForm::kE4M3 && scaled.scale_form == ScaleForm::kTensor)
    scaled.scales = filled(at, w.n, static_cast<const float*>(w.scales), 0, stream);
  if (fixed) input.scales = const_cast<float*>(filled(at, scale_rows * x.n_tokens, nullptr, x.static_scale, stream));
  if (!lt_matmul(scaled, input, accumulate, y, ldy, nullptr, room, stream)) return false;
  if (bias != nullptr) {
    add_bias_kernel<<<by_token(w.n, x.n_tokens), kThreads, 0, stream>>>(bias, w.n, y, ldy);
    check_launch("add_bias");
  }
  return true;
}

void Product::widened() {
  char* rows = room + kLtWorkspaceBytes;
  const int64_t step = rows_widened_at_once(w.n, w.k);
  for (int64_t first = 0; first < w.n; first += step) {
    const int64_t n_rows = std::min(step, w.n - first);
    widen_rows(w, first, n_rows, rows, stream);
    DeviceMatrix piece;
    piece.form = WeightForm::kBF16;
    piece.n = n_rows;
    piece.k = w.k;
    piece.values = rows;
    Product part{piece, x, bias != nullptr ? bias + first : nullptr, accumulate, y + first, ldy, room, stream};
    if (!part.floats()) unsupported("this shape in cuBLASLt");
  }
}

MatmulKernel kernel_of_many(WeightForm form) {
  const bool wide = form == WeightForm::kE4M3Wide || form == WeightForm::kI8Wide || form == WeightForm::kI4;
  return wide ? MatmulKernel::kWidenLt : MatmulKernel::kLt;
}

}  // namespace

int group_shift(const DeviceMatrix& w) {
  if (w.group == w.k) return 31;
  if (w.group == 32) return 0;
  if (w.group == 64) return 1;
  if (w.group == 128) return 2;
  unsupported("groups of this size");
}

MatmulKernel plan_matmul(const DeviceMatrix& w, int64_t n_tokens) {
  if (int4_matmul_takes(w, n_tokens)) return MatmulKernel::kInt4;
  if (wgmma_matmul_takes(w, n_tokens)) return MatmulKernel::kWgmma;
  if (n_tokens <= stream_tokens(w.form)) return MatmulKernel::kStream;
  if (w.form == WeightForm::kE4M3) {
    const int64_t tokens = gpu_lt_fp8_tokens(w.n, w.k, w.scale_form == ScaleForm::kBlock128, compute_capability());
    if (tokens == 0 || n_tokens % tokens != 0) return MatmulKernel::kStream;
  }
  return kernel_of_many(w.form);
}

bool takes_raw(const DeviceMatrix& w, const DeviceInput& x) {
  if (x.n_tokens != 1 || x.input_order != nullptr || w.k > kMostRawInputs || w.k % 16 != 0) return false;
  const MatmulKernel kernel = plan_matmul(w, 1);
  if (kernel == MatmulKernel::kInt4) return true;
  return kernel == MatmulKernel::kStream && stream_takes_raw(w);
}

bool makes_silu_mul(const DeviceMatrix& w, int64_t n_tokens, const DeviceInput& made) {
  if ((made.form != InputForm::kBF16 && made.form != InputForm::kF16) || made.input_order != nullptr || w.n % 32 != 0)
    return false;
  const MatmulKernel kernel = plan_matmul(w, n_tokens);
  return kernel == MatmulKernel::kInt4 || (kernel == MatmulKernel::kStream && stream_makes_silu_mul(w, n_tokens));
}

bool has_algorithm(const DeviceMatrix& w, int64_t n_tokens) {
  if (plan_matmul(w, n_tokens) != MatmulKernel::kLt) return true;
  DeviceInput x;
  x.n_tokens = n_tokens;
  x.in = w.k;
  x.scales = const_cast<float*>(static_cast<const float*>(w.scales));
  return lt_multiplies(w, x);
}

int64_t token_scale_rows(const DeviceMatrix& w, int64_t n_tokens) {
  const bool by_block = w.block_scales != nullptr && gpu_fp8_by_block(w.n, w.k, n_tokens, compute_capability());
  return by_block ? ceil_div(w.k, 128) : 1;
}

bool has_block_algorithms(const DeviceMatrix& w) {
  DeviceMatrix by_block = w;
  by_block.scale_form = ScaleForm::kBlock128;
  DeviceInput x;
  x.in = w.k;
  x.scales = const_cast<float*>(static_cast<const float*>(w.scales));
  for (x.n_tokens = kGpuFp8StreamTokens + 1; x.n_tokens <= kGpuFp8BlockTokens; x.n_tokens++)
    if (gpu_fp8_by_block(w.n, w.k, x.n_tokens, compute_capability()) && !lt_multiplies(by_block, x)) return false;
  return true;
}

int64_t matmul_workspace_bytes(WeightForm form, int64_t n, int64_t k, int64_t max_tokens) {
  const int64_t stream =
      std::max(stream_workspace_bytes(max_tokens), form == WeightForm::kI4 ? wgmma_workspace_bytes() : int64_t{0});
  if (max_tokens <= stream_tokens(form)) return stream;
  int64_t rest = 0;
  switch (kernel_of_many(form)) {
    case MatmulKernel::kInt4:
    case MatmulKernel::kStream:
    case MatmulKernel::kWgmma:
      break;
    case MatmulKernel::kLt:
      rest = form == WeightForm::kI8 ? std::max(std::min(kPieceBytes, n * max_tokens * 4), n * 4)
                                     : round_up(n * 4, 256) + round_up(gpu_token_scales(max_tokens, k) * 4, 256);
      break;
    case MatmulKernel::kWidenLt:
      rest = rows_widened_at_once(n, k) * k * 2;
      break;
  }
  return std::max(stream, kMatmulCounterBytes + kLtWorkspaceBytes + rest);
}

void matmul_silu_mul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, const DeviceInput& made,
                     void* workspace, int64_t workspace_bytes, cudaStream_t stream) {
  if (workspace_bytes < matmul_workspace_bytes(w.form, w.n, w.k, x.n_tokens)) unsupported("a workspace this small");
  if (!makes_silu_mul(w, x.n_tokens, made)) unsupported("this product and its activation in one");
  if (x.raw.x != nullptr && !takes_raw(w, x)) unsupported("a raw input here");
  const SiluMul silu{made.values, made.form == InputForm::kF16};
  if (plan_matmul(w, x.n_tokens) == MatmulKernel::kInt4)
    return int4_matmul(w, x, bias, false, nullptr, w.n, silu, stream);
  stream_matmul(w, x, bias, false, nullptr, w.n, silu, workspace, stream);
}

void matmul(const DeviceMatrix& w, const DeviceInput& x, const float* bias, bool accumulate, float* y, int64_t ldy,
            void* workspace, int64_t workspace_bytes, cudaStream_t stream) {
  if (workspace_bytes < matmul_workspace_bytes(w.form, w.n, w.k, x.n_tokens)) unsupported("a workspace this small");
  if (x.raw.x != nullptr && !takes_raw(w, x)) unsupported("a raw input here");
  Product product{w, x, bias, accumulate, y, ldy, static_cast<char*>(workspace) + kMatmulCounterBytes, stream};
  switch (plan_matmul(w, x.n_tokens)) {
    case MatmulKernel::kInt4:
      return int4_matmul(w, x, bias, accumulate, y, ldy, {}, stream);
    case MatmulKernel::kStream:
      return stream_matmul(w, x, bias, accumulate, y, ldy, {}, workspace, stream);
    case MatmulKernel::kWgmma:
      return wgmma_matmul(w, x, bias, accumulate, y, ldy, workspace, stream);
    case MatmulKernel::kLt:
      if (w.form == WeightForm::kI8) return product.integers();
      if (product.floats()) return;
      if (w.form != WeightForm::kE4M3) unsupported("this shape in cuBLASLt");
      return stream_matmul(w, x, bias, accumulate, y, ldy, {}, workspace, stream);
    case MatmulKernel::kWidenLt:
      return product.widened();
  }
}

}  // namespace trimeter::cuda
