// Norm, activation, quantization, argmax and embedding.
#pragma once
#include <cstring>
#include <string>

#include "check_matmul.cuh"
#include "check_report.cuh"
#include "common.h"
#include "kernels/cuda/ops.h"

using namespace trimeter;
using namespace trimeter::cuda;

namespace {

// The forms' formulas, on the host.
void check_prepare(InputForm form, int64_t m, int64_t k, int64_t scale_rows = 1) {
  std::vector<float> x = random_rows(m * k, 5);
  for (int64_t i = 0; i < k; i++) x[(m - 1) * k + i] *= 1e-6f;
  const Input in = make_input(form, m, k, x, nullptr, scale_rows);
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
        for (int64_t r = 0; r < (i == 0 ? scale_rows : 0); r++) wrong += scale != got_scales[r * m + t];
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
  report("prepare form " + std::to_string(static_cast<int>(form)) + " k=" + std::to_string(k) +
             " scale rows=" + std::to_string(scale_rows) + ": codes that differ",
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

}  // namespace
