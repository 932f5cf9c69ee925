// Checks every CUDA kernel against double precision on the card at hand: random inputs, poisoned outputs, shapes that
// fill no tile. Exit status 1 if one is off, 77 if there is no card. Usage: check [--small]   (for compute-sanitizer)
#include <algorithm>
#include <cstring>
#include <string>

#include "common.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/ops.h"
#include "kernels/gpu_scratch.h"

using namespace trimeter;
using namespace trimeter::cuda;

namespace {

int n_failures = 0, n_checks = 0;
bool small = false;

void report(const std::string& what, double error, double bound) {
  ++n_checks;
  const bool ok = error <= bound;  // false for NaN
  if (!ok) ++n_failures;
  if (!ok || !small) std::printf("%-4s %-72s error %.2e bound %.2e\n", ok ? "ok" : "FAIL", what.c_str(), error, bound);
}

struct Case {
  WeightForm form;
  InputForm input;
  ScaleForm scale;
  int64_t group = 0;
  bool zeros = false, bf16_scales = false, order = false;
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

float e4m3_value(uint8_t code) { return __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3))); }

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
  matrix.values = packed.get();
  matrix.scales = raw_scales.empty() ? nullptr : scales.get();
  matrix.zeros = c.zeros ? zeros.get() : nullptr;
  return {std::move(values), std::move(packed), std::move(scales), std::move(zeros), std::move(device_order), matrix};
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

Input make_input(InputForm form, int64_t m, int64_t k, const std::vector<float>& x, const int32_t* order) {
  Input in{Device<uint8_t>(input_values_bytes(form, m, k)), Device<float>(input_scales_bytes(form, m, k) / 4), {}, {}};
  in.input.form = form;
  in.input.n_tokens = m;
  in.input.in = k;
  in.input.values = in.values.get();
  in.input.scales = in.scales.get();
  in.input.static_scale = form == InputForm::kE4M3Static ? 0.01f : 0.03f;
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
    const Input in = make_input(c.input, m, k, random_rows(m * k, 7 + m), c.order ? w.order.get() : nullptr);
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
      const MatmulKernel kernel = plan_matmul(c.form, m);
      double bound = static_cast<double>(k / 16 + 8) * std::ldexp(1, -24);
      // Codes of 4 bits go in with 128 added, which makes sums of 128 products up to 32 times as large.
      if (c.form == WeightForm::kI4 && m <= 8) bound += 16 * 32 * std::ldexp(1, -24);
      // Widened weights are rounded to bf16; with more than 32 tokens a group's scale, too.
      if (kernel == MatmulKernel::kWidenLt) bound += std::ldexp(1, -9);
      if (kernel == MatmulKernel::kStream && c.scale == ScaleForm::kGroup && m > 32) bound += std::ldexp(1, -8);
      if (kernel == MatmulKernel::kLt && c.form == WeightForm::kE4M3) bound += std::ldexp(1, -10);
      char what[160];
      std::snprintf(what, sizeof what, "matmul %s %s g%d%s%s%s in%d n=%d k=%d m=%d%s", name(c.form), name(c.scale),
                    static_cast<int>(c.group), c.zeros ? " zp" : "", c.order ? " order" : "",
                    c.bf16_scales ? " bf16" : "", static_cast<int>(c.input), static_cast<int>(n), static_cast<int>(k),
                    static_cast<int>(m), full ? " bias+acc" : "");
      report(what, worst, bound);
    }
  }
  std::vector<uint8_t> counters(kMatmulCounterBytes);
  CHECK_CUDA(cudaMemcpy(counters.data(), workspace.get(), counters.size(), cudaMemcpyDeviceToHost));
  if (std::any_of(counters.begin(), counters.end(), [](uint8_t b) { return b != 0; }))
    report("counters are zero", 1, 0);
}

void check_matmuls() {
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
  for (const Case& c : cases) {
    if (small) {
      check_matmul(c, 272, 384, {1, 9, 40, 66});
      continue;
    }
    check_matmul(c, 48, 128, {1, 2, 8, 9, 16, 17});
    check_matmul(c, 272, 896, {1, 5, 16, 33, 64, 65, 200});
    check_matmul(c, 2048, 4096, {1, 7, 16, 31, 64, 128, 512});
    if (c.scale == S::kGroup && c.group == 32) check_matmul(c, 80, 416, {1, 16, 64, 100});  // k no multiple of 64
    check_matmul(c, 528, 14336, {1, 16, 64, 100});
  }
}

// ---- elementwise
// -----------------------------------------------------------------------------------------------------

uint8_t e4m3_code(float value) { return __nv_cvt_float_to_fp8(value, __NV_SATFINITE, __NV_E4M3); }

// The forms' formulas, on the host.
void check_prepare(InputForm form, int64_t m, int64_t k) {
  std::vector<float> x = random_rows(m * k, 5);
  for (int64_t i = 0; i < k; i++) x[(m - 1) * k + i] *= 1e-6f;
  const Input in = make_input(form, m, k, x, nullptr);
  const std::vector<uint8_t> got = in.values.host();
  const std::vector<float> got_scales = in.scales.host();
  int64_t wrong = 0;
  for (int64_t t = 0; t < m; t++) {
    float amax = 0;
    for (int64_t i = 0; i < k; i++) amax = std::max(amax, std::fabs(x[t * k + i]));
    for (int64_t i = 0; i < k; i++) {
      const float value = x[t * k + i];
      uint8_t bytes[4] = {};
      int size = 1;
      if (form == InputForm::kF32) std::memcpy(bytes, &value, size = 4);
      if (form == InputForm::kBF16) {
        const uint16_t bits = bf16_bits(value);
        std::memcpy(bytes, &bits, size = 2);
      }
      if (form == InputForm::kF16) {
        const uint16_t bits = __half_as_ushort(__float2half_rn(value));
        std::memcpy(bytes, &bits, size = 2);
      }
      if (form == InputForm::kE4M3Token) {
        const float scale = std::max(amax, 1.0f / 512) / 448;
        wrong += scale != got_scales[t];
        bytes[0] = e4m3_code(value / scale);
      }
      if (form == InputForm::kE4M3Static) bytes[0] = e4m3_code(value * (1 / in.input.static_scale));
      if (form == InputForm::kE4M3Group128) {
        float most = 0;
        for (int64_t j = i / 128 * 128; j < std::min(k, i / 128 * 128 + 128); j++)
          most = std::max(most, std::fabs(x[t * k + j]));
        const float scale = std::max(most, 1e-10f) / 448;
        wrong += scale != got_scales[i / 128 * m + t];
        bytes[0] = e4m3_code(value / scale);
      }
      if (form == InputForm::kI8Token || form == InputForm::kI8Static) {
        const float code = form == InputForm::kI8Token ? value * (127 / amax) : value / in.input.static_scale;
        bytes[0] = static_cast<uint8_t>(static_cast<int8_t>(std::min(std::max(std::nearbyint(code), -128.0f), 127.0f)));
        if (form == InputForm::kI8Token) wrong += amax / 127 != got_scales[t];
      }
      wrong += std::memcmp(bytes, &got[(t * k + i) * size], size) != 0;
    }
  }
  report("prepare form " + std::to_string(static_cast<int>(form)) + " k=" + std::to_string(k) + ": codes that differ",
         static_cast<double>(wrong), 0);
}

void check_norm_and_silu(int64_t m, int64_t k) {
  const std::vector<float> x = random_rows((m + 2) * k * 2, 11), gain = random_rows(k, 12);
  std::vector<int32_t> rows(m);
  for (int64_t t = 0; t < m; t++) rows[t] = static_cast<int32_t>((t * 7 + 1) % (m + 2));
  const Device<float> device_x(x), device_gain(gain);
  const Device<int32_t> device_rows(rows);
  Device<float> y(m * k);
  DeviceInput out;
  out.n_tokens = m;
  out.in = k;
  out.values = y.get();
  rms_norm_prepare(device_x.get(), device_rows.get(), device_gain.get(), 1e-5, out, nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  std::vector<float> got = y.host();
  double worst = 0;
  for (int64_t t = 0; t < m; t++) {
    double sum = 0;
    for (int64_t i = 0; i < k; i++) sum += static_cast<double>(x[rows[t] * k + i]) * x[rows[t] * k + i];
    const double scale = 1 / std::sqrt(sum / static_cast<double>(k) + 1e-5);
    for (int64_t i = 0; i < k; i++) {
      const double want = static_cast<double>(gain[i]) * x[rows[t] * k + i] * scale;
      worst = std::max(worst, std::fabs(got[t * k + i] - want) / (std::fabs(want) + 1e-30));
    }
  }
  report("rms_norm k=" + std::to_string(k), worst, (static_cast<double>(k) / 256 + 16) * std::ldexp(1, -24));
  CHECK_CUDA(cudaMemset(y.get(), 0xff, m * k * 4));
  silu_mul_prepare(device_x.get(), out, nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  got = y.host();
  worst = 0;
  for (int64_t t = 0; t < m; t++)
    for (int64_t i = 0; i < k; i++) {
      const double g = x[t * 2 * k + i], want = g / (1 + std::exp(-g)) * x[t * 2 * k + k + i];
      worst = std::max(worst, std::fabs(got[t * k + i] - want) / (std::fabs(want) + 1e-30));
    }
  report("silu_mul k=" + std::to_string(k), worst, std::ldexp(1, -20));
}

void check_argmax_and_embed() {
  const int64_t m = 5, vocab = 32003;
  std::vector<float> logits = random_rows(m * vocab, 21);
  logits[0 * vocab + 31000] = logits[0 * vocab + 17] = 9;
  logits[1 * vocab + 32002] = 9;
  logits[2 * vocab + 5] = NAN;
  logits[3 * vocab + 1] = INFINITY;
  for (int64_t i = 0; i < vocab; i++) logits[4 * vocab + i] = -5;
  const Device<float> device_logits(logits);
  const Device<int32_t> tokens(m);
  argmax(device_logits.get(), m, vocab, tokens.get(), nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  const std::vector<int32_t> want = {17, 32002, -1, -1, 0}, got = tokens.host();
  report("argmax", got == want ? 0 : 1, 0);
  std::vector<uint16_t> table(300 * 96);
  for (size_t i = 0; i < table.size(); i++) table[i] = bf16_bits(random_normal(3, i));
  const Device<uint16_t> device_table(table);
  const std::vector<int32_t> ids = {299, 0, 7};
  const Device<int32_t> device_ids(ids);
  Device<float> x(3 * 96);
  embed(device_table.get(), DType::kBF16, device_ids.get(), 3, 96, x.get(), nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  const std::vector<float> rows = x.host();
  int wrong = 0;
  for (int i = 0; i < 3 * 96; i++) wrong += rows[i] != bf16_value(table[ids[i / 96] * 96 + i % 96]);
  report("embed", wrong, 0);
}

// ---- attention
// -------------------------------------------------------------------------------------------------------

struct Sequence {
  int64_t n_rows, n_context;  // its last row's position is n_context - 1; n_rows = 1 and n_context = 0: padding
};

int64_t bytes_of_dtype(DType dtype) {
  return dtype == DType::kF32 ? 4 : dtype == DType::kBF16 || dtype == DType::kF16 ? 2 : 1;
}
const char* dtype_name(DType d) {
  return d == DType::kF32    ? "f32"
         : d == DType::kF16  ? "f16"
         : d == DType::kBF16 ? "bf16"
         : d == DType::kI8   ? "int8"
                             : "e4m3";
}

// Fills a cache by rope_kv_write, token by token's rows, and compares it and attention over it with double precision.
void check_attention(DType dtype, int64_t head_dim, int64_t n_kv_heads, int64_t group,
                     const std::vector<Sequence>& sequences) {
  const int64_t n_heads = n_kv_heads * group, block_size = 16, layer = 1;
  KvView kv;
  kv.layout = {.n_layers = 2, .n_kv_heads = n_kv_heads, .head_dim = head_dim, .block_size = block_size, .dtype = dtype};
  const KvScale scale{.k = 0.02f, .v = 0.03f};
  int64_t max_context = 1, n_rows = 0, stride = 1, max_rows = 1;
  for (const Sequence& s : sequences) {
    max_context = std::max(max_context, s.n_context);
    n_rows += s.n_rows;
    max_rows = std::max(max_rows, s.n_rows);
  }
  stride = (max_context + block_size - 1) / block_size + 1;
  const auto n_seqs = static_cast<int64_t>(sequences.size());
  // Blocks of all sequences interleaved, so that none lie in order.
  std::vector<int32_t> tables(n_seqs * stride);
  for (int64_t s = 0; s < n_seqs; s++)
    for (int64_t b = 0; b < stride; b++) tables[s * stride + b] = static_cast<int32_t>((stride - 1 - b) * n_seqs + s);
  const Device<uint8_t> pool(n_seqs * stride * kv.layout.block_bytes());
  kv.blocks = reinterpret_cast<std::byte*>(pool.get());
  const Device<int32_t> device_tables(tables);
  std::vector<float> cosines(max_context * head_dim / 2), sines(cosines.size());
  for (int64_t p = 0; p < max_context; p++)
    for (int64_t i = 0; i < head_dim / 2; i++) {
      const double angle =
          static_cast<double>(p) * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
      cosines[p * head_dim / 2 + i] = static_cast<float>(std::cos(angle));
      sines[p * head_dim / 2 + i] = static_cast<float>(std::sin(angle));
    }
  const Device<float> device_cos(cosines), device_sin(sines);
  const int64_t width = (n_heads + 2 * n_kv_heads) * head_dim;
  const auto qkv_at = [&](int64_t seq, int64_t position, int64_t i) {
    return random_normal(1000 + seq, position * width + i);
  };
  const auto rows_of_step = [&](const std::vector<std::pair<int64_t, int64_t>>& rows) {  // (sequence, position)
    std::vector<float> x(rows.size() * width);
    for (size_t r = 0; r < rows.size(); r++)
      for (int64_t i = 0; i < width; i++)
        x[r * width + i] = qkv_at(rows[r].first, std::max<int64_t>(rows[r].second, 0), i);
    return x;
  };
  struct Step {
    std::vector<int32_t> positions, seq_of_row, row_begin{0};
  };
  const auto view_of = [&](const Step&, const Device<int32_t>& p, const Device<int32_t>& s, const Device<int32_t>& b) {
    StepView view;
    view.n_rows = p.size();
    view.n_seqs = b.size() - 1;
    view.positions = p.get();
    view.seq_of_row = s.get();
    view.row_begin = b.get();
    view.block_tables = device_tables.get();
    view.table_stride = stride;
    view.max_rows_per_seq = max_rows;
    view.max_context = max_context;
    return view;
  };
  // What came before the step.
  {
    std::vector<std::pair<int64_t, int64_t>> rows;
    Step step;
    for (int64_t s = 0; s < n_seqs; s++) {
      for (int64_t p = 0; p < sequences[s].n_context - sequences[s].n_rows; p++) {
        rows.emplace_back(s, p);
        step.positions.push_back(static_cast<int32_t>(p));
        step.seq_of_row.push_back(static_cast<int32_t>(s));
      }
      step.row_begin.push_back(static_cast<int32_t>(rows.size()));
    }
    if (!rows.empty()) {
      const Device<float> x(rows_of_step(rows));
      const Device<int32_t> p(step.positions), s(step.seq_of_row), b(step.row_begin);
      rope_kv_write(x.get(), n_heads, device_cos.get(), device_sin.get(), view_of(step, p, s, b), kv, layer, scale,
                    nullptr);
      CHECK_CUDA(cudaDeviceSynchronize());
    }
  }
  std::vector<std::pair<int64_t, int64_t>> rows;
  Step step;
  for (int64_t s = 0; s < n_seqs; s++) {
    for (int64_t i = 0; i < sequences[s].n_rows; i++) {
      const int64_t p = sequences[s].n_context - sequences[s].n_rows + i;
      rows.emplace_back(s, p);
      step.positions.push_back(static_cast<int32_t>(p));
      step.seq_of_row.push_back(static_cast<int32_t>(s));
    }
    step.row_begin.push_back(static_cast<int32_t>(rows.size()));
  }
  const Device<float> x(rows_of_step(rows));
  const Device<int32_t> p(step.positions), s(step.seq_of_row), b(step.row_begin);
  const StepView view = view_of(step, p, s, b);
  rope_kv_write(x.get(), n_heads, device_cos.get(), device_sin.get(), view, kv, layer, scale, nullptr);
  const Device<uint8_t> workspace(gpu_attention_workspace_bytes(n_seqs, n_heads, head_dim));
  const Device<float> out(n_rows * n_heads * head_dim);
  attention(x.get(), n_heads, view, kv, layer, scale, out.get(), workspace.get(), nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  const std::vector<float> got = out.host(), rotated = x.host();
  const std::vector<uint8_t> cache = pool.host();

  // The cache as the layout's formulas say.
  const auto element = [&](int64_t seq, int64_t position, int64_t head, bool is_v, int64_t i) -> double {
    const int64_t block = tables[seq * stride + position / block_size], slot = position % block_size;
    const int64_t half = is_v ? kv.layout.v_offset(block, layer, head) : kv.layout.k_offset(block, layer, head);
    const int64_t at = half + (slot * head_dim + i) * bytes_of_dtype(dtype);
    uint16_t bits;
    std::memcpy(&bits, &cache[at], 2);
    float value;
    switch (dtype) {
      case DType::kF32:
        std::memcpy(&value, &cache[at], 4);
        return value;
      case DType::kF16:
        return __half2float(__ushort_as_half(bits));
      case DType::kBF16:
        return bf16_value(bits);
      case DType::kF8E4M3:
        return static_cast<double>(e4m3_value(cache[at])) * (is_v ? scale.v : scale.k);
      default:
        std::memcpy(&bits, &cache[half + kv.layout.element_bytes() + slot * 2], 2);
        return static_cast<double>(static_cast<int8_t>(cache[at])) * __half2float(__ushort_as_half(bits));
    }
  };
  // Every cached element within its dtype's rounding of the rotated value.
  double worst_write = 0;
  for (int64_t seq = 0; seq < n_seqs; seq++)
    for (int64_t t = 0; t < sequences[seq].n_context; t += 13)
      for (int64_t head = 0; head < n_kv_heads; head++) {
        double most[2] = {0, 0};
        std::vector<double> want(2 * head_dim);
        for (int64_t i = 0; i < head_dim; i++) {
          const int64_t half = head_dim / 2, pair = i % half, base = (n_heads + head) * head_dim;
          const double low = qkv_at(seq, t, base + pair), high = qkv_at(seq, t, base + pair + half);
          const double c = cosines[t * half + pair], sn = sines[t * half + pair];
          want[i] = i < half ? low * c - high * sn : high * c + low * sn;
          want[head_dim + i] = qkv_at(seq, t, (n_heads + n_kv_heads + head) * head_dim + i);
          most[0] = std::max(most[0], std::fabs(want[i]));
          most[1] = std::max(most[1], std::fabs(want[head_dim + i]));
        }
        for (int v = 0; v < 2; v++)
          for (int64_t i = 0; i < head_dim; i++) {
            const double value = want[v * head_dim + i];
            double unit = std::ldexp(std::fabs(value), -21) + 1e-6;
            if (dtype == DType::kBF16) unit = std::ldexp(std::fabs(value), -8) * 1.01;
            if (dtype == DType::kF16) unit = std::ldexp(std::fabs(value), -11) * 1.01 + 1e-6;
            if (dtype == DType::kF8E4M3)
              unit = std::ldexp(std::fabs(value), -4) * 1.01 + (v ? scale.v : scale.k) / 1000;
            if (dtype == DType::kI8) unit = most[v] / 127 * 0.56;
            worst_write = std::max(worst_write, std::fabs(element(seq, t, head, v, i) - value) / unit);
          }
      }
  double worst = 0;
  for (int64_t r = 0; r < n_rows; r++) {
    const auto [seq, position] = rows[r];
    for (int64_t h = 0; h < n_heads; h += small ? 1 : std::max<int64_t>(1, n_heads / 7)) {
      std::vector<double> weights(position + 1), want(head_dim);
      double most = -1e300, total = 0;
      for (int64_t t = 0; t <= position; t++) {
        double score = 0;
        for (int64_t i = 0; i < head_dim; i++)
          score += static_cast<double>(rotated[r * width + h * head_dim + i]) * element(seq, t, h / group, false, i);
        weights[t] = score / std::sqrt(static_cast<double>(head_dim));
        most = std::max(most, weights[t]);
      }
      for (double& weight : weights) total += weight = std::exp(weight - most);
      double largest_v = 1e-9;
      for (int64_t t = 0; t <= position; t++)
        for (int64_t i = 0; i < head_dim; i++) {
          const double v = element(seq, t, h / group, true, i);
          want[i] += weights[t] / total * v;
          largest_v = std::max(largest_v, std::fabs(v));
        }
      for (int64_t i = 0; i < head_dim; i++) {
        const double error = std::fabs(got[(r * n_heads + h) * head_dim + i] - want[i]) / largest_v;
        worst = error <= worst ? worst : error;
        if (std::isnan(error)) worst = error;
      }
    }
  }
  char what[160];
  std::snprintf(what, sizeof what, "attention %s d=%d kv=%d group=%d rows=%d seqs=%d context<=%d", dtype_name(dtype),
                static_cast<int>(head_dim), static_cast<int>(n_kv_heads), static_cast<int>(group),
                static_cast<int>(n_rows), static_cast<int>(n_seqs), static_cast<int>(max_context));
  report(std::string(what) + ": written", worst_write, 1);
  // In units of the largest |v|. Decode multiplies 16 bits of q and of the weights; prefill rounds both to bf16 (a
  // score of about 3 * 2^-9 off makes its weight as much off).
  const bool plain = dtype == DType::kF32 || (head_dim != 64 && head_dim != 128);
  report(what, worst, plain ? std::ldexp(1, -17) : max_rows == 1 ? std::ldexp(1, -13) : std::ldexp(1, -6));
}

void check_attentions() {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF8E4M3, DType::kI8, DType::kF32}) {
    if (small) {
      check_attention(dtype, 64, 1, 3, {{1, 17}, {1, 0}, {1, 70}});
      check_attention(dtype, 64, 1, 2, {{1, 20}, {70, 75}});
      continue;
    }
    check_attention(dtype, 128, 2, 4, {{1, 1}, {1, 15}, {1, 16}, {1, 17}, {1, 0}, {1, 333}, {1, 1500}});
    check_attention(dtype, 128, 1, 8, {{1, 700}});
    check_attention(dtype, 64, 2, 7, {{1, 33}, {1, 260}, {1, 64}});
    check_attention(dtype, 64, 1, 12, {{1, 100}, {1, 2}});
    check_attention(dtype, 128, 2, 1, {{1, 129}});
    check_attention(dtype, 128, 2, 2, {{130, 130}, {1, 77}, {64, 200}, {3, 3}});
    check_attention(dtype, 64, 2, 2, {{65, 90}, {1, 100}});
    check_attention(dtype, 80, 2, 2, {{5, 40}, {1, 100}});
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  small = argc > 1 && std::string(argv[1]) == "--small";
  int n_devices = 0;
  if (cudaGetDeviceCount(&n_devices) != cudaSuccess || n_devices == 0) {
    std::puts("no CUDA device: nothing was checked");
    return 77;
  }
  for (int form = 0; form < 8; form++) {
    check_prepare(static_cast<InputForm>(form), 3, 256);
    if (!small) check_prepare(static_cast<InputForm>(form), 4, 14336);
  }
  check_norm_and_silu(3, 896);
  if (!small) check_norm_and_silu(2, 14336);
  check_argmax_and_embed();
  check_attentions();
  check_matmuls();
  std::printf("%d checks, %d failed\n", n_checks, n_failures);
  return n_failures == 0 ? 0 : 1;
}
