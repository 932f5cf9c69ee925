// Attention and the cache that it reads.
#pragma once
#include <algorithm>
#include <string>

#include "check_report.cuh"
#include "common.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/ops.h"
#include "kernels/gpu_scratch.h"

using namespace trimeter;
using namespace trimeter::cuda;

namespace {

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

// Fills a cache by rope_kv_write, token by token's rows, and compares it and attention over it with double precision:
// the step's own rows by rope_kv_write and attention, or `together` by rope_attention_prepare.
void check_attention(DType dtype, int64_t head_dim, int64_t n_kv_heads, int64_t group,
                     const std::vector<Sequence>& sequences, bool together) {
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
  const Device<unsigned> counters(kMatmulCounterBytes / 4, 0);
  const Device<uint8_t> partials(gpu_attention_workspace_bytes(n_seqs, n_heads, head_dim));
  const AttentionRoom room{counters.get(), partials.get()};
  const Device<float> out(n_rows * n_heads * head_dim), unused(n_rows * n_heads * head_dim);
  if (together) {
    const DeviceInput f32{.form = InputForm::kF32, .n_tokens = n_rows, .in = n_heads * head_dim, .values = out.get()};
    rope_attention_prepare(x.get(), n_heads, device_cos.get(), device_sin.get(), view, kv, layer, scale, unused.get(),
                           room, f32, nullptr);
  } else {
    rope_kv_write(x.get(), n_heads, device_cos.get(), device_sin.get(), view, kv, layer, scale, nullptr);
    attention(x.get(), n_heads, view, kv, layer, scale, out.get(), room, nullptr);
  }
  CHECK_CUDA(cudaDeviceSynchronize());
  const std::vector<float> got = out.host();
  const std::vector<unsigned> arrived = counters.host();
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
      std::vector<double> weights(position + 1), want(head_dim), query(head_dim);
      for (int64_t i = 0; i < head_dim / 2 && position >= 0; i++) {
        const double low = qkv_at(seq, position, h * head_dim + i),
                     high = qkv_at(seq, position, h * head_dim + i + head_dim / 2);
        const double c = cosines[position * head_dim / 2 + i], sn = sines[position * head_dim / 2 + i];
        query[i] = low * c - high * sn;
        query[i + head_dim / 2] = high * c + low * sn;
      }
      double most = -1e300, total = 0;
      for (int64_t t = 0; t <= position; t++) {
        double score = 0;
        for (int64_t i = 0; i < head_dim; i++) score += query[i] * element(seq, t, h / group, false, i);
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
  std::snprintf(what, sizeof what, "%sattention %s d=%d kv=%d group=%d rows=%d seqs=%d context<=%d",
                together ? "rope " : "", dtype_name(dtype), static_cast<int>(head_dim), static_cast<int>(n_kv_heads),
                static_cast<int>(group), static_cast<int>(n_rows), static_cast<int>(n_seqs),
                static_cast<int>(max_context));
  report(std::string(what) + ": written", worst_write, 1);
  report(std::string(what) + ": counters left",
         static_cast<double>(std::ranges::count_if(arrived, [](unsigned n) { return n != 0; })), 0);
  // In units of the largest |v|. Decode multiplies 16 bits of q and of the weights; prefill rounds both to bf16 (a
  // score of about 3 * 2^-9 off makes its weight as much off).
  const bool plain = dtype == DType::kF32 || (head_dim != 64 && head_dim != 128);
  report(what, worst, plain ? std::ldexp(1, -17) : max_rows == 1 ? std::ldexp(1, -13) : std::ldexp(1, -6));
}

// What rope_attention_prepare() makes of its output, in every form: what prepare() makes of its f32, to the bit.
void check_prepared_attention() {
  const int64_t n_kv_heads = 2, group = 3, head_dim = 128, n_seqs = 3, context = 600, block_size = 16;
  const int64_t n_heads = n_kv_heads * group, in = n_heads * head_dim, stride = context / block_size + 1;
  KvView kv;
  kv.layout = {
      .n_layers = 1, .n_kv_heads = n_kv_heads, .head_dim = head_dim, .block_size = block_size, .dtype = DType::kBF16};
  std::vector<uint16_t> pool(n_seqs * stride * kv.layout.block_bytes() / 2);
  for (size_t i = 0; i < pool.size(); i++) pool[i] = bf16_bits(random_normal(31, i));
  const Device<uint16_t> device_pool(pool);
  kv.blocks = reinterpret_cast<std::byte*>(device_pool.get());
  std::vector<int32_t> tables(n_seqs * stride), ids = {0, 1, 2, 3}, positions = {599, 40, -1};
  for (size_t i = 0; i < tables.size(); i++) tables[i] = static_cast<int32_t>(i);
  std::vector<float> qkv(n_seqs * (n_heads + 2 * n_kv_heads) * head_dim), angles(context * head_dim / 2);
  for (size_t i = 0; i < qkv.size(); i++) qkv[i] = random_normal(32, i);
  for (size_t i = 0; i < angles.size(); i++) angles[i] = 0.5f + 0.0001f * static_cast<float>(i % 1000);
  const Device<int32_t> device_tables(tables), device_ids(ids), device_positions(positions);
  const Device<float> device_angles(angles), out(n_seqs * in), device_qkv(qkv);
  const Device<unsigned> counters(kMatmulCounterBytes / 4, 0);
  const Device<uint8_t> partials(gpu_attention_workspace_bytes(n_seqs, n_heads, head_dim));
  StepView view;
  view.n_rows = view.n_seqs = n_seqs;
  view.positions = device_positions.get();
  view.seq_of_row = view.row_begin = device_ids.get();
  view.block_tables = device_tables.get();
  view.table_stride = stride;
  view.max_context = context;
  const auto run = [&](const DeviceInput& to) {
    rope_attention_prepare(device_qkv.get(), n_heads, device_angles.get(), device_angles.get(), view, kv, 0, {},
                           out.get(), {counters.get(), partials.get()}, to, nullptr);
    CHECK_CUDA(cudaDeviceSynchronize());
  };
  const Device<float> f32(n_seqs * in);
  run({.form = InputForm::kF32, .n_tokens = n_seqs, .in = in, .values = f32.get()});
  for (int form = 0; form < 8; form++) {
    const auto is = static_cast<InputForm>(form);
    const Device<uint8_t> got(input_values_bytes(is, n_seqs, in)), want(input_values_bytes(is, n_seqs, in));
    const Device<float> got_scales(in), want_scales(in);
    DeviceInput to{.form = is, .n_tokens = n_seqs, .in = in, .static_scale = 0.01f};
    to.values = want.get();
    to.scales = want_scales.get();
    prepare(f32.get(), to, nullptr);
    to.values = got.get();
    to.scales = got_scales.get();
    run(to);
    const bool same =
        got.host() == want.host() && std::memcmp(got_scales.host().data(), want_scales.host().data(),
                                                 static_cast<size_t>(input_scales_bytes(is, n_seqs, in))) == 0;
    report("rope attention, prepared in form " + std::to_string(form), same ? 0 : 1, 0);
  }
}

void check_attentions() {
  check_prepared_attention();
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF8E4M3, DType::kI8, DType::kF32}) {
    for (const bool together : {false, true}) {
      const auto check = [&](int64_t head_dim, int64_t n_kv_heads, int64_t group, const std::vector<Sequence>& seqs) {
        check_attention(dtype, head_dim, n_kv_heads, group, seqs, together);
      };
      if (small) {
        check(64, 1, 3, {{1, 17}, {1, 0}, {1, 70}});
        check(64, 1, 2, {{1, 20}, {70, 75}});
        check(128, 1, 2, {{1, 300}});
        continue;
      }
      check(128, 2, 4, {{1, 1}, {1, 15}, {1, 16}, {1, 17}, {1, 0}, {1, 333}, {1, 1500}});
      check(128, 1, 8, {{1, 700}});
      check(64, 2, 7, {{1, 33}, {1, 260}, {1, 64}});
      check(64, 1, 12, {{1, 100}, {1, 2}});
      check(64, 1, 1, {{1, 4500}});
      check(128, 2, 1, {{1, 129}});
      check(128, 2, 2, {{130, 130}, {1, 77}, {64, 200}, {3, 3}});
      check(64, 2, 2, {{65, 90}, {1, 100}});
      check(80, 2, 2, {{5, 40}, {1, 100}});
    }
  }
}

}  // namespace
