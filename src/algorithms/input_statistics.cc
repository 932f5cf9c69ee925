#include "algorithms/input_statistics.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "schemes/scheme.h"

namespace trimeter {

InputStatistics InputStatistics::without_gram(int64_t in_width) {
  InputStatistics statistics(0);
  statistics.in = in_width;
  statistics.abs_sum.resize(in_width);
  statistics.amax.resize(in_width);
  return statistics;
}

void InputStatistics::add(const float* x, int64_t n, ThreadPool& pool) {
  pool.run([&](int thread) {
    const auto [begin, end] = pool.share(in, thread);
    for (int64_t t = 0; t < n; ++t)
      for (int64_t i = begin; i < end; ++i) {
        const float magnitude = std::fabs(x[t * in + i]);
        abs_sum[i] += static_cast<double>(magnitude);
        amax[i] = std::max(amax[i], magnitude);
      }
  });
  if (!gram.empty()) add_to_gram(x, n, pool);
  add_to_sample(x, n);
  n_tokens += n;
}

// X^T X as a linear layer: X^T is the weight and, its rows being the tokens, the input.
void InputStatistics::add_to_gram(const float* x, int64_t n, ThreadPool& pool) {
  const Scheme& fp32 = scheme("fp32");
  const Isa isa = active_isa();
  CanonicalWeight transposed;
  std::vector<float> xt(in * n);
  pool.run([&](int thread) {
    const auto [begin, end] = pool.share(in, thread);
    for (int64_t i = begin; i < end; ++i)
      for (int64_t t = 0; t < n; ++t) xt[i * n + t] = x[t * in + i];
  });
  transposed.shape = {.out = in, .in = n};
  transposed.dense = {{.data = reinterpret_cast<const std::byte*>(xt.data()), .dtype = DType::kF32, .n_rows = in}};
  const PackedWeight packed = fp32.pack(transposed, pool);
  Arena arena(fp32.prepared_bytes(in, n, isa), "calibration activations");
  const PreparedInput input = fp32.take_prepared(arena, in, n, isa);
  pool.run([&](int thread) {
    const auto [first, last] = pool.share(in, thread);
    if (first < last) fp32.prepare(packed, xt.data(), first, last, input, isa);
    pool.barrier();
    const auto [begin, end] = pool.share(in, thread, kPanelRows);
    if (begin < end) fp32.multiply(packed, input, begin, end, nullptr, true, gram.data(), in, isa);
  });
}

void InputStatistics::add_to_sample(const float* x, int64_t n) {
  for (int64_t t = 0; t < n; ++t) {
    if ((n_tokens + t) % sample_stride != 0) continue;
    if (n_sample() == kMaxSample) {  // every other one of them is of the doubled stride
      for (int64_t i = 1; i < kMaxSample / 2; ++i) std::copy_n(&sample[2 * i * in], in, &sample[i * in]);
      sample.resize(kMaxSample / 2 * in);
      sample_stride *= 2;
      if ((n_tokens + t) % sample_stride != 0) continue;
    }
    sample.insert(sample.end(), x + t * in, x + (t + 1) * in);
  }
}

void InputStatistics::divide(std::span<const float> scales) {
  TM_CHECK(static_cast<int64_t>(scales.size()) == in, "{} scales for {} channels", scales.size(), in);
  for (int64_t i = 0; i < in; ++i) {
    abs_sum[i] /= static_cast<double>(scales[i]);
    amax[i] /= scales[i];
    if (!gram.empty())
      for (int64_t j = 0; j < in; ++j) gram[i * in + j] /= scales[i] * scales[j];
  }
  for (size_t i = 0; i < sample.size(); ++i) sample[i] /= scales[i % in];
}

}  // namespace trimeter
