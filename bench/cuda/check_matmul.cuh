// Products: weights quantized, packed and prepared here by the formulas, and multiplied in double precision.
#pragma once
#include <algorithm>
#include <cstring>
#include <string>

#include "check_report.cuh"
#include "common.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/ops.h"

using namespace trimeter;
using namespace trimeter::cuda;

namespace {

struct Case {
  WeightForm form;
  InputForm input;
  ScaleForm scale;
  int64_t group = 0;
  bool zeros = false, bf16_scales = false, order = false;
  bool by_block = false;  // kTensor and kRow: a scale for 128 rows, and block_scales
};

const char* name(WeightForm form) {
  switch (form) {
    case WeightForm::kF32:
      return "f32";
    case WeightForm::kF16:
      return "f16";
    case WeightForm::kBF16:
      return "bf16";
    case WeightForm::kE4M3:
      return "e4m3";
    case WeightForm::kI8:
      return "int8";
    case WeightForm::kE4M3Wide:
      return "e4m3-wide";
    case WeightForm::kI8Wide:
      return "int8-wide";
    case WeightForm::kI4:
      return "int4";
  }
  return "";
}
const char* name(ScaleForm form) {
  constexpr const char* kNames[] = {"none", "tensor", "row", "block128", "group"};
  return kNames[static_cast<int>(form)];
}
bool is_e4m3(WeightForm f) { return f == WeightForm::kE4M3 || f == WeightForm::kE4M3Wide; }
bool is_int(WeightForm f) { return f == WeightForm::kI8 || f == WeightForm::kI8Wide || f == WeightForm::kI4; }
bool is_float(WeightForm f) { return !is_e4m3(f) && !is_int(f); }

// out[t][r] = sum x w, magnitude[t][r] = sum |x w|
__global__ void reference_kernel(const float* x, const float* w, int64_t m, int64_t n, int64_t k, double* out,
                                 double* magnitude) {
  const int64_t r = blockIdx.x * 32 + threadIdx.x, t = blockIdx.y;
  if (r >= n) return;
  double sum = 0, size = 0;
  for (int64_t i = 0; i < k; i++) {
    const double product = static_cast<double>(x[t * k + i]) * w[r * k + i];
    sum += product;
    size += fabs(product);
  }
  out[t * n + r] = sum;
  magnitude[t * n + r] = size;
}

// Values of a weight in canonical form and its DeviceMatrix.
struct Weight {
  std::vector<float> values;  // [n][k], scales applied; columns in the order of the input
  Device<uint8_t> packed, scales, zeros;
  Device<float> block_scales;
  Device<int32_t> order;
  DeviceMatrix matrix;
};

template <class T>
Device<uint8_t> bytes_of(const std::vector<T>& host) {
  std::vector<uint8_t> bytes(host.size() * sizeof(T));
  std::memcpy(bytes.data(), host.data(), bytes.size());
  return Device<uint8_t>(bytes);
}

Weight make_weight(const Case& c, int64_t n, int64_t k, uint64_t seed) {
  std::vector<float> values(n * k);
  std::vector<uint8_t> codes(n * k);
  DeviceMatrix matrix;
  matrix.form = c.form;
  matrix.scale_form = c.scale;
  matrix.n = n;
  matrix.k = k;
  matrix.group = c.group == 0 ? k : c.group;
  matrix.scale_dtype = c.bf16_scales ? DType::kBF16 : DType::kF16;
  Device<uint8_t> packed(matrix_values_bytes(c.form, n, k)), scales(0), zeros(0);
  const int64_t n_groups = k / matrix.group, blocks = (k + 127) / 128;
  std::vector<float> raw_scales;
  std::vector<uint8_t> raw_zeros;
  const auto random_scale = [&](int64_t i) {
    if (c.by_block) i = i / 128 * 128;
    const float s = 0.01f * (0.5f + static_cast<float>(random_bits(seed + 1, i) % 1000) / 1000.0f);
    return c.scale != ScaleForm::kGroup ? s
           : c.bf16_scales              ? bf16_value(bf16_bits(s))
                                        : __half2float(__float2half_rn(s));
  };
  switch (c.scale) {
    case ScaleForm::kNone:
      break;
    case ScaleForm::kTensor:
      raw_scales = {random_scale(0)};
      break;
    case ScaleForm::kRow:
      raw_scales.resize(n);
      break;
    case ScaleForm::kBlock128:
      raw_scales.resize((n + 127) / 128 * ((blocks + 3) / 4 * 4));
      break;
    case ScaleForm::kGroup:
      raw_scales.resize(n * n_groups);
      break;
  }
  for (size_t i = 0; i < raw_scales.size(); i++) raw_scales[i] = random_scale(static_cast<int64_t>(i));
  if (c.zeros) {
    raw_zeros.resize(n * n_groups);
    for (size_t i = 0; i < raw_zeros.size(); i++) raw_zeros[i] = random_bits(seed + 2, i) % 16;
  }
  // Packed column j is canonical column order[j]; values are in packed order, as the prepared input is.
  std::vector<int32_t> order(k);
  for (int64_t j = 0; j < k; j++) order[j] = static_cast<int32_t>(j);
  if (c.order)
    for (int64_t j = k - 1; j > 0; j--) std::swap(order[j], order[random_bits(seed + 3, j) % (j + 1)]);
  for (int64_t i = 0; i < n * k; i++) {
    codes[i] = static_cast<uint8_t>(random_bits(seed + 4, i) >> 20);
    if (c.form == WeightForm::kI4) codes[i] &= 15;
    if (is_e4m3(c.form) && (codes[i] & 0x7f) == 0x7f) codes[i] ^= 1;
  }
  for (int64_t r = 0; r < n; r++)
    for (int64_t j = 0; j < k; j++) {
      const uint8_t code = codes[r * k + order[j]];
      float value = random_normal(seed + 5, r * k + j), scale = 1;
      switch (c.scale) {
        case ScaleForm::kNone:
          break;
        case ScaleForm::kTensor:
          scale = raw_scales[0];
          break;
        case ScaleForm::kRow:
          scale = raw_scales[r];
          break;
        case ScaleForm::kBlock128:
          scale = raw_scales[r / 128 * ((blocks + 3) / 4 * 4) + j / 128];
          break;
        case ScaleForm::kGroup:
          scale = raw_scales[r * n_groups + j / matrix.group];
          break;
      }
      if (c.form == WeightForm::kBF16) value = bf16_value(bf16_bits(value));
      if (c.form == WeightForm::kF16) value = __half2float(__float2half_rn(value));
      if (is_e4m3(c.form)) value = e4m3_value(code);
      if (c.form == WeightForm::kI8 || c.form == WeightForm::kI8Wide) value = static_cast<float>(code) - 128;
      if (c.form == WeightForm::kI4)
        value =
            static_cast<float>(code) - (c.zeros ? static_cast<float>(raw_zeros[r * n_groups + j / matrix.group]) : 8);
      values[r * k + j] = value * scale;
    }
  Device<int32_t> device_order(order);
  if (is_float(c.form)) {
    if (c.form == WeightForm::kF32) packed = bytes_of(values);
    std::vector<uint16_t> bits(n * k);
    for (int64_t i = 0; i < n * k && c.form != WeightForm::kF32; i++)
      bits[i] = c.form == WeightForm::kBF16 ? bf16_bits(values[i]) : __half_as_ushort(__float2half_rn(values[i]));
    if (c.form != WeightForm::kF32) packed = bytes_of(bits);
  } else {
    // In two slices of rows, as a load would.
    const int64_t first = std::min<int64_t>(n, (n / 2 + 15) / 16 * 16);
    Device<uint8_t> device_codes(codes);
    const int32_t* columns = c.order ? device_order.get() : nullptr;
    pack_codes(c.form, device_codes.get(), columns, 0, first, n, k, packed.get(), nullptr);
    if (first < n)
      pack_codes(c.form, device_codes.get() + first * k, columns, first, n - first, n, k, packed.get(), nullptr);
    CHECK_CUDA(cudaDeviceSynchronize());
  }
  if (c.scale == ScaleForm::kGroup) {
    const int64_t padded = (n + 15) / 16 * 16;
    scales = Device<uint8_t>(n_groups * padded * 2);
    zeros = Device<uint8_t>(n_groups * padded / 2);
    Device<float> device_scales(raw_scales);
    Device<uint8_t> device_zeros(raw_zeros);
    pack_group_scales(device_scales.get(), c.zeros ? device_zeros.get() : nullptr, n, n_groups, matrix.scale_dtype,
                      scales.get(), zeros.get(), nullptr);
    CHECK_CUDA(cudaDeviceSynchronize());
  } else if (!raw_scales.empty()) {
    scales = bytes_of(raw_scales);
  }
  std::vector<float> repeated(c.by_block ? (n + 127) / 128 * ((blocks + 3) / 4 * 4) : 0);
  for (size_t i = 0; i < repeated.size(); i++)
    repeated[i] = raw_scales[c.scale == ScaleForm::kTensor ? 0 : i / ((blocks + 3) / 4 * 4) * 128];
  Device<float> block_scales(repeated);
  if (c.by_block) matrix.block_scales = block_scales.get();
  matrix.values = packed.get();
  matrix.scales = raw_scales.empty() ? nullptr : scales.get();
  matrix.zeros = c.zeros ? zeros.get() : nullptr;
  return {std::move(values),
          std::move(packed),
          std::move(scales),
          std::move(zeros),
          std::move(block_scales),
          std::move(device_order),
          matrix};
}

// A prepared input and what it stands for.
struct Input {
  Device<uint8_t> values;
  Device<float> scales;
  DeviceInput input;
  std::vector<float> meant;  // [m][k]
};

// meant: the values of what prepare() wrote, by the forms' definitions.
std::vector<float> meaning(const DeviceInput& input, const std::vector<uint8_t>& values,
                           const std::vector<float>& scales) {
  std::vector<float> meant(input.n_tokens * input.in);
  for (int64_t t = 0; t < input.n_tokens; t++)
    for (int64_t i = 0; i < input.in; i++) {
      const int64_t at = t * input.in + i;
      uint16_t half = 0;
      if (input.form == InputForm::kBF16 || input.form == InputForm::kF16) std::memcpy(&half, &values[at * 2], 2);
      switch (input.form) {
        case InputForm::kF32:
          std::memcpy(&meant[at], &values[at * 4], 4);
          break;
        case InputForm::kF16:
          meant[at] = __half2float(__ushort_as_half(half));
          break;
        case InputForm::kBF16:
          meant[at] = bf16_value(half);
          break;
        case InputForm::kE4M3Token:
          meant[at] = e4m3_value(values[at]) * scales[t];
          break;
        case InputForm::kE4M3Static:
          meant[at] = e4m3_value(values[at]) * input.static_scale;
          break;
        case InputForm::kE4M3Group128:
          meant[at] = e4m3_value(values[at]) * scales[i / 128 * input.n_tokens + t];
          break;
        case InputForm::kI8Token:
          meant[at] = static_cast<int8_t>(values[at]) * scales[t];
          break;
        case InputForm::kI8Static:
          meant[at] = static_cast<int8_t>(values[at]) * input.static_scale;
          break;
      }
    }
  return meant;
}

Input make_input(InputForm form, int64_t m, int64_t k, const std::vector<float>& x, const int32_t* order,
                 int64_t scale_rows = 1) {
  Input in{Device<uint8_t>(input_values_bytes(form, m, k)), Device<float>(input_scales_bytes(form, m, k) / 4), {}, {}};
  in.input.form = form;
  in.input.n_tokens = m;
  in.input.in = k;
  in.input.values = in.values.get();
  in.input.scales = in.scales.get();
  in.input.static_scale = form == InputForm::kE4M3Static ? 0.01f : 0.03f;
  in.input.scale_rows = scale_rows;
  in.input.input_order = order;
  const Device<float> device_x(x);
  prepare(device_x.get(), in.input, nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  in.meant = meaning(in.input, in.values.host(), in.scales.host());
  return in;
}

std::vector<float> random_rows(int64_t n, uint64_t seed) {
  std::vector<float> x(n);
  for (int64_t i = 0; i < n; i++) x[i] = random_normal(seed, i);
  return x;
}

void check_matmul(const Case& c, int64_t n, int64_t k, const std::vector<int64_t>& tokens) {
  const Weight w = make_weight(c, n, k, n * 31 + k);
  const Device<float> values(w.values);
  int64_t workspace_bytes = 0;
  for (const int64_t m : tokens) workspace_bytes = std::max(workspace_bytes, matmul_workspace_bytes(c.form, n, k, m));
  const Device<uint8_t> workspace(workspace_bytes);
  CHECK_CUDA(cudaMemset(workspace.get(), 0, kMatmulCounterBytes));
  for (const int64_t m : tokens) {
    const MatmulKernel kernel = plan_matmul(w.matrix, m);
    if (race && (kernel == MatmulKernel::kLt || kernel == MatmulKernel::kWidenLt)) continue;
    const Input in = make_input(c.input, m, k, random_rows(m * k, 7 + m), c.order ? w.order.get() : nullptr,
                                token_scale_rows(w.matrix, m));
    const Device<float> meant(in.meant);
    const Device<double> sums(m * n), sizes(m * n);
    reference_kernel<<<dim3((n + 31) / 32, m), 32>>>(meant.get(), values.get(), m, n, k, sums.get(), sizes.get());
    CHECK_CUDA(cudaDeviceSynchronize());
    const std::vector<float> bias = random_rows(n, 99), before = random_rows(m * (n + 4), 98);
    const Device<float> device_bias(bias);
    const std::vector<double> reference = sums.host(), size = sizes.host();
    for (const bool full : {false, true}) {  // with bias and accumulation, into rows n + 4 apart
      const int64_t ldy = full ? n + 4 : n;
      Device<float> y(m * ldy);
      if (full) CHECK_CUDA(cudaMemcpy(y.get(), before.data(), m * ldy * 4, cudaMemcpyHostToDevice));
      matmul(w.matrix, in.input, full ? device_bias.get() : nullptr, full, y.get(), ldy, workspace.get(),
             workspace_bytes, nullptr);
      CHECK_CUDA(cudaDeviceSynchronize());
      const std::vector<float> got = y.host();
      double worst = 0;
      for (int64_t t = 0; t < m; t++)
        for (int64_t r = 0; r < n; r++) {
          const double extra = full ? static_cast<double>(bias[r]) + before[t * ldy + r] : 0;
          const double error =
              std::fabs(got[t * ldy + r] - reference[t * n + r] - extra) / (size[t * n + r] + std::fabs(extra));
          worst = error <= worst ? worst : error;  // NaN sticks
          if (std::isnan(error)) worst = error;
        }
      // Sums of k products in f32, in units of sum |x w|. cuBLASLt's e4m3 keeps 14 bits of a sum.
      double bound = static_cast<double>(k / 16 + 8) * std::ldexp(1, -24);
      // Codes of 4 bits go in with 128 added, which makes sums of 128 products up to 32 times as large; or the input is
      // rounded to 2^-15 of the largest value of a group, which averages out.
      if (kernel == MatmulKernel::kStream && c.form == WeightForm::kI4 && m <= 8) bound += 16 * 32 * std::ldexp(1, -24);
      if (kernel == MatmulKernel::kInt4) bound += std::ldexp(1, -17);
      // Widened weights are rounded to bf16; by wgmma, and streamed with more than 32 tokens, a group's scale, too.
      if (kernel == MatmulKernel::kWidenLt) bound += std::ldexp(1, -9);
      if (kernel == MatmulKernel::kWgmma || (kernel == MatmulKernel::kStream && c.scale == ScaleForm::kGroup && m > 32))
        bound += std::ldexp(1, -8);
      if (kernel == MatmulKernel::kLt && c.form == WeightForm::kE4M3) bound += std::ldexp(1, -10);
      char what[160];
      std::snprintf(what, sizeof what, "matmul %s %s%s g%d%s%s%s in%d n=%d k=%d m=%d%s", name(c.form), name(c.scale),
                    token_scale_rows(w.matrix, m) > 1 ? " by block" : "", static_cast<int>(c.group),
                    c.zeros ? " zp" : "", c.order ? " order" : "", c.bf16_scales ? " bf16" : "",
                    static_cast<int>(c.input), static_cast<int>(n), static_cast<int>(k), static_cast<int>(m),
                    full ? " bias+acc" : "");
      report(what, worst, bound);
    }
  }
  std::vector<uint8_t> counters(kMatmulCounterBytes);
  CHECK_CUDA(cudaMemcpy(counters.data(), workspace.get(), counters.size(), cudaMemcpyDeviceToHost));
  if (std::any_of(counters.begin(), counters.end(), [](uint8_t b) { return b != 0; }))
    report("counters are zero", 1, 0);
}

std::vector<uint32_t> bits_of(const std::vector<float>& values) {
  std::vector<uint32_t> bits(values.size());
  std::memcpy(bits.data(), values.data(), bits.size() * 4);
  return bits;
}

// A raw input against a prepared one: the same bits, as inputs whose squares add up without rounding have one norm.
// And gate and up with their activation, against one after the other.
void check_fused(const Case& c, int64_t n, int64_t k) {
  const Weight w = make_weight(c, n, k, n * 31 + k);
  char name_of[120];
  std::snprintf(name_of, sizeof name_of, "%s %s g%d%s in%d n=%d k=%d", name(c.form), name(c.scale),
                static_cast<int>(c.group), c.zeros ? " zp" : "", static_cast<int>(c.input), static_cast<int>(n),
                static_cast<int>(k));
  const int64_t workspace_bytes = matmul_workspace_bytes(c.form, n, k, 8);
  const Device<uint8_t> workspace(workspace_bytes);
  CHECK_CUDA(cudaMemset(workspace.get(), 0, kMatmulCounterBytes));
  constexpr int64_t kTokens = 8;
  std::vector<float> x(kTokens * k);
  for (int64_t i = 0; i < kTokens * k; i++) x[i] = (static_cast<float>(random_bits(5, i) % 29) - 14) / 8;
  const Device<float> raw(x), gain(random_rows(k, 6)), bias(random_rows(n, 99));
  const int32_t row = 2;
  const Device<int32_t> device_row(std::vector<int32_t>{row});
  const auto product = [&](const DeviceInput& input) {
    Device<float> y(n);
    matmul(w.matrix, input, bias.get(), false, y.get(), n, workspace.get(), workspace_bytes, nullptr);
    CHECK_CUDA(cudaDeviceSynchronize());
    return y.host();
  };
  Input in = make_input(c.input, 1, k, x, nullptr);
  const bool is_wanted = !(c.form == WeightForm::kE4M3 && c.scale == ScaleForm::kBlock128);
  report(std::string("takes a raw input: ") + name_of, takes_raw(w.matrix, in.input) == is_wanted ? 0 : 1, 0);
  DeviceInput ordered = in.input;
  ordered.input_order = device_row.get();
  report(std::string("takes none in another order: ") + name_of, takes_raw(w.matrix, ordered) ? 1 : 0, 0);
  if (is_wanted) {
    DeviceInput as_is = in.input;
    as_is.values = nullptr;
    as_is.scales = nullptr;
    as_is.raw = {raw.get(), nullptr, nullptr, 0};
    report(std::string("raw ") + name_of, bits_of(product(as_is)) == bits_of(product(in.input)) ? 0 : 1, 0);
    rms_norm_prepare(raw.get(), device_row.get(), gain.get(), 1e-6, in.input, nullptr);
    as_is.raw = {raw.get(), device_row.get(), gain.get(), 1e-6f};
    report(std::string("raw norm ") + name_of, bits_of(product(as_is)) == bits_of(product(in.input)) ? 0 : 1, 0);
  }
  for (const int64_t m : {1, 3, 8}) {
    const Input of_m = make_input(c.input, m, k, x, nullptr);
    const InputForm form = c.input == InputForm::kF16 ? InputForm::kF16 : InputForm::kBF16;
    const Device<uint16_t> wanted(m * n / 2), got(m * n / 2);
    DeviceInput made{.form = form, .n_tokens = m, .in = n / 2, .values = wanted.get()};
    const bool by_row = c.scale != ScaleForm::kBlock128 && c.scale != ScaleForm::kGroup;
    const bool makes = makes_silu_mul(w.matrix, m, made);
    const bool is_large = n * k >= int64_t{32} << 20;
    const bool should =
        m == 1 ? by_row || c.form == WeightForm::kI4 : c.form == WeightForm::kI4 && (m == 3 || is_large);
    report(std::string("makes its activation: ") + name_of, makes == should ? 0 : 1, 0);
    DeviceMatrix uneven = w.matrix;
    uneven.n -= 16;
    report(std::string("makes no uneven one: ") + name_of, makes_silu_mul(uneven, m, made) ? 1 : 0, 0);
    if (!makes) continue;
    const Device<float> y(m * n);
    matmul(w.matrix, of_m.input, bias.get(), false, y.get(), n, workspace.get(), workspace_bytes, nullptr);
    silu_mul_prepare(y.get(), made, nullptr);
    made.values = got.get();
    matmul_silu_mul(w.matrix, of_m.input, bias.get(), made, workspace.get(), workspace_bytes, nullptr);
    CHECK_CUDA(cudaDeviceSynchronize());
    double worst = 0;
    const std::vector<uint16_t> a = wanted.host(), b = got.host();
    for (size_t i = 0; i < a.size(); i++) {
      const auto value = [&](uint16_t bits) {
        return static_cast<double>(form == InputForm::kF16 ? __half2float(__ushort_as_half(bits)) : bf16_value(bits));
      };
      const double error = std::fabs(value(a[i]) - value(b[i])) / (std::fabs(value(a[i])) + 1e-3);
      worst = error <= worst ? worst : error;
    }
    report("silu " + std::string(name_of) + " m=" + std::to_string(m), worst, std::ldexp(1, -7));
  }
}

// Weights large enough to go by block, of rows and of inputs that fill no block, too.
void check_by_block() {
  const Device<float> any(1);
  for (const InputForm input : {InputForm::kE4M3Token, InputForm::kE4M3Static})
    for (const ScaleForm scale : {ScaleForm::kTensor, ScaleForm::kRow}) {
      Case c{WeightForm::kE4M3, input, scale};
      c.by_block = true;
      DeviceMatrix w;
      w.form = c.form;
      w.scale_form = scale;
      w.n = 16384;
      w.k = 2048;
      w.block_scales = any.get();
      for (const int64_t m : {36, 48, 64}) report("goes by block", token_scale_rows(w, m) == 2048 / 128 ? 0 : 1, 0);
      check_matmul(c, 16384, 2048, {36, 48, 64});
      if (scale == ScaleForm::kRow) check_matmul(c, 16400, 2064, {33, 64});
    }
  const Device<float> scales(1);
  DeviceMatrix w;
  w.form = WeightForm::kE4M3;
  w.scale_form = ScaleForm::kTensor;
  w.n = 16384;
  w.k = 2048;
  w.scales = scales.get();
  report("cuBLASLt has algorithms by block", has_block_algorithms(w) ? 0 : 1, 0);
}

void check_matmuls(bool int4_alone) {
  using W = WeightForm;
  using I = InputForm;
  using S = ScaleForm;
  const std::vector<Case> cases = {
      {W::kF32, I::kF32, S::kNone},
      {W::kF16, I::kF16, S::kNone},
      {W::kBF16, I::kBF16, S::kNone},
      {W::kE4M3, I::kE4M3Token, S::kTensor},
      {W::kE4M3, I::kE4M3Token, S::kRow},
      {W::kE4M3, I::kE4M3Static, S::kTensor},
      {W::kE4M3, I::kE4M3Static, S::kRow},
      {W::kE4M3, I::kE4M3Group128, S::kBlock128},
      {W::kI8, I::kI8Token, S::kRow},
      {W::kI8, I::kI8Static, S::kRow},
      {W::kE4M3Wide, I::kBF16, S::kTensor},
      {W::kE4M3Wide, I::kBF16, S::kRow},
      {W::kE4M3Wide, I::kBF16, S::kBlock128},
      {W::kI8Wide, I::kBF16, S::kGroup, 0},
      {W::kI8Wide, I::kBF16, S::kGroup, 32, false, true},
      {W::kI8Wide, I::kBF16, S::kGroup, 128},
      {W::kI4, I::kBF16, S::kGroup, 0},
      {W::kI4, I::kBF16, S::kGroup, 128},
      {W::kI4, I::kBF16, S::kGroup, 128, true},
      {W::kI4, I::kBF16, S::kGroup, 64, true, true},
      {W::kI4, I::kBF16, S::kGroup, 32, true},
      {W::kI4, I::kBF16, S::kGroup, 32, false, false, true},
      {W::kI4, I::kBF16, S::kGroup, 128, true, false, true},
  };
  if (!small && !int4_alone) check_by_block();
  for (const Case& c : cases) {
    if (int4_alone && c.form != W::kI4) continue;
    if (c.form != W::kF32 && !c.order) {
      check_fused(c, 288, small ? 384 : 8192);
      // CTAs of several row blocks, and k's that fill no segment.
      if (!small) check_fused(c, 12704, c.scale != S::kGroup ? 528 : 512 + (c.group > 0 ? c.group : 128));
      if (!small && c.zeros && c.group == 128) check_fused(c, 16928, 2176);  // 5 to 8 tokens of 4 bits
    }
    if (small) {
      check_matmul(c, 272, 384, {1, 9, 40, 66});
      // CTAs of three blocks.
      if (c.form == W::kI4 && c.group != 0) check_matmul(c, 8464, 128, {1, 3});
      if (c.form == W::kI4 && c.group != 0) check_matmul(c, 272, 2048, {12, 40});  // clusters
      if (c.form == W::kI4 && c.group == 128) check_matmul(c, 34048, 1152, {33});  // blocks that two CTAs share
      continue;
    }
    check_matmul(c, 48, 128, {1, 2, 8, 9, 16, 17});
    check_matmul(c, 272, 896, {1, 5, 16, 33, 64, 65, 200});
    check_matmul(c, 2048, 4096, {1, 7, 16, 31, 64, 128, 512});
    if (c.scale == S::kGroup && c.group == 32) check_matmul(c, 80, 416, {1, 16, 64, 100});  // k no multiple of 64
    check_matmul(c, 528, 14336, {1, 16, 64, 100});
    if (c.form != W::kI4) continue;
    check_matmul(c, 272, 896, {2, 3, 4, 17, 40, 100});
    check_matmul(c, 18000, 256, {17, 64, 65});                  // a block each
    check_matmul(c, 34048, 1152, {17, 50, 128});                // blocks that two CTAs share
    if (c.group == 32) check_matmul(c, 1003, 96, {12, 40});     // rows and k's that fill nothing
    if (c.group == 128) check_matmul(c, 3584, 8192, {20, 64});  // clusters of 256 rows
    if (c.group == 128) check_matmul(c, 8464, 4096, {9, 16});   // streamed: large weights, whose warps share k's
    if (c.group == 128) check_matmul(c, 4096, 14336, {16});     // or rows
    if (c.zeros && !c.order) check_matmul(c, 8464, 4096, {1, 3, 5, 8});  // several blocks a CTA, more than 4 tokens
  }
}

}  // namespace
