// Draws and logprobs against engine/sampler.h's definition in double, over whole sorted rows.
#pragma once
#include <cfloat>
#include <limits>
#include <numeric>
#include <string>

#include "check_report.cuh"
#include "common.h"
#include "kernels/cuda/ops.h"

using namespace trimeter;
using namespace trimeter::cuda;

namespace {

constexpr const char* kLogitKinds[] = {"flat", "peaked", "ties", "equal", "masked"};
std::vector<float> logits_of_kind(int kind, int64_t vocab, uint64_t seed) {
  std::vector<float> logits(vocab);
  for (int64_t i = 0; i < vocab; i++) {
    const float x = random_normal(seed, i);
    const bool is_rare = random_bits(seed + 1, i) % 4096 == 0;
    if (kind == 0) logits[i] = x;
    if (kind == 1) logits[i] = is_rare ? 14 + 2 * x : 2 * x;
    if (kind == 2) logits[i] = std::round(2 * x) / 2;
    if (kind == 3) logits[i] = -3.25f;
    if (kind == 4) logits[i] = is_rare ? x : -1e30f;
  }
  return logits;
}

std::vector<DrawRow> draw_parameters() {
  std::vector<DrawRow> rows;
  const auto add = [&](double temperature, int32_t top_k, double top_p, double min_p, float penalty) {
    DrawRow row;
    row.temperature = temperature;
    row.top_k = top_k;
    row.top_p = top_p;
    row.min_p = min_p;
    row.penalty = penalty;
    rows.push_back(row);
  };
  for (const double temperature : {1.0, 0.7, 5.0, 0.01, 1e6}) add(temperature, 0, 1, 0, 1);
  for (const int32_t top_k : {1, 2, 50, 1024, 1025, 20000}) add(1, top_k, 1, 0, 1);
  for (const double top_p : {1e-300, 0.1, 0.5, 0.9, 0.999, 1 - 1e-12}) add(1, 0, top_p, 0, 1);
  for (const double min_p : {1e-6, 0.05, 1.0}) add(1, 0, 1, min_p, 1);
  add(0, 0, 1, 0, 1.3f);
  add(0.8, 50, 0.95, 0, 1);
  add(0.8, 5000, 0.95, 0.001, 1.2f);
  add(2, 0, 0.6, 0, 0.5f);
  return rows;
}

std::vector<float> penalised_row(const float* logits, int64_t vocab, const DrawRow& row,
                                 const std::vector<int32_t>& seen) {
  std::vector<float> x(logits, logits + vocab);
  for (const int32_t token : seen)
    x[token] = logits[token] > 0 ? logits[token] / row.penalty : logits[token] * row.penalty;
  return x;
}

// By how much of the whole a token misses what was drawn; infinite for one that is filtered out.
double miss_of(const std::vector<float>& x, const DrawRow& row, int32_t token) {
  const int64_t vocab = static_cast<int64_t>(x.size());
  if (token < 0 || token >= vocab) return INFINITY;
  std::vector<int32_t> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
  if (row.temperature == 0) return token == order[0] ? 0 : INFINITY;
  const double most = x[order[0]];
  const auto weight = [&](int32_t i) { return std::exp((x[i] - most) / row.temperature); };
  size_t n = 0;
  while (n < order.size() && weight(order[n]) >= row.min_p) n++;
  if (row.top_k > 0 && row.top_k < static_cast<int64_t>(n)) {
    const float least = x[order[row.top_k - 1]];
    n = row.top_k;
    while (n < order.size() && x[order[n]] == least) n++;
  }
  order.resize(n);
  if (row.top_p < 1) {
    double total = 0, sum = 0;
    for (const int32_t i : order) total += weight(i);
    n = 0;
    while (n < order.size() && sum < row.top_p * total) sum += weight(order[n++]);
    order.resize(n);
  }
  std::sort(order.begin(), order.end());
  double total = 0, before = -1, upto = -1;
  for (const int32_t i : order) {
    if (i == token) before = total;
    total += weight(i);
    if (i == token) upto = total;
  }
  if (before < 0) return INFINITY;
  const double drawn = row.uniform * total;
  return std::max({before - drawn, drawn - upto, 0.0}) / total;
}

void check_draws_of(int64_t vocab, int kind) {
  const std::vector<DrawRow> parameters = draw_parameters();
  const int64_t m = static_cast<int64_t>(parameters.size()), n_words = draw_seen_words(vocab);
  std::vector<float> logits;
  std::vector<DrawRow> rows = parameters;
  std::vector<uint32_t> bits;
  std::vector<std::vector<int32_t>> seen(m);
  for (int64_t r = 0; r < m; r++) {
    const std::vector<float> row = logits_of_kind(kind, vocab, 100 * kind + r);
    logits.insert(logits.end(), row.begin(), row.end());
    rows[r].row = static_cast<int32_t>(r);
    rows[r].uniform = static_cast<double>(random_bits(77 + kind, r) >> 11) * 0x1p-53;
    if (rows[r].penalty == 1) continue;
    rows[r].seen = static_cast<int32_t>(bits.size() / n_words);
    bits.resize(bits.size() + n_words);
    for (int i = 0; i < 300; i++) {
      const auto token = static_cast<int32_t>(random_bits(r, i) % vocab);
      seen[r].push_back(token);
      bits[rows[r].seen * n_words + token / 32] |= 1u << (token % 32);
    }
  }
  const Device<float> device_logits(logits);
  const Device<DrawRow> device_rows(rows);
  const Device<uint32_t> device_bits(bits);
  const Device<int32_t> tokens(m), reversed(m);
  draw(device_logits.get(), vocab, device_rows.get(), m, device_bits.get(), tokens.get(), nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  const std::vector<int32_t> got = tokens.host();
  const std::string name = "draw of " + std::to_string(vocab) + " " + kLogitKinds[kind];
  // Weights are rounded to 2^-44 of the largest each.
  const double bound = static_cast<double>(vocab) * std::ldexp(1, -44) + 1e-12;
  double worst = 0;
  int64_t worst_row = 0;
  for (int64_t r = 0; r < m; r++) {
    const double miss = miss_of(penalised_row(&logits[r * vocab], vocab, rows[r], seen[r]), rows[r], got[r]);
    if (!(miss <= worst)) worst = miss, worst_row = r;
  }
  report(name + ", parameters " + std::to_string(worst_row), worst, bound);

  std::vector<DrawRow> backwards(rows.rbegin(), rows.rend());
  const Device<DrawRow> device_backwards(backwards);
  draw(device_logits.get(), vocab, device_backwards.get(), m, device_bits.get(), reversed.get(), nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  report(name + ": the same in another order of rows", reversed.host() == got ? 0 : 1, 0);

  std::vector<LogprobRow> asked;
  for (int64_t r = 0; r < m; r++)
    asked.push_back({static_cast<int32_t>(r), std::vector<int32_t>{0, 1, 5, kMostDrawLogprobs}[r % 4]});
  const Device<LogprobRow> device_asked(asked);
  const Device<DrawLogprob> logprobs(m * (kMostDrawLogprobs + 1));
  draw_logprobs(device_logits.get(), vocab, device_asked.get(), m, tokens.get(), logprobs.get(), nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  const std::vector<DrawLogprob> given = logprobs.host();
  double error = 0;
  for (int64_t r = 0; r < m; r++) {
    const float* x = &logits[r * vocab];
    std::vector<int32_t> order(vocab);
    std::iota(order.begin(), order.end(), 0);
    const int64_t n = std::min<int64_t>(asked[r].n, vocab);
    std::partial_sort(order.begin(), order.begin() + n, order.end(),
                      [&](int32_t a, int32_t b) { return x[a] != x[b] ? x[a] > x[b] : a < b; });
    const double most = *std::max_element(x, x + vocab);
    double sum = 0;
    for (int64_t i = 0; i < vocab; i++) sum += std::exp(x[i] - most);
    for (int64_t i = 0; i <= n; i++) {
      const DrawLogprob& one = given[r * (kMostDrawLogprobs + 1) + i];
      const int32_t want_token = i == 0 ? got[r] : order[i - 1];
      if (one.token != want_token || want_token < 0) {
        error = INFINITY;
        continue;
      }
      const double want = x[want_token] - (most + std::log(sum));
      error = std::max(error, std::fabs(one.logprob - want) / std::max(1.0, std::fabs(want)));
    }
  }
  report(name + ": logprobs", error, std::ldexp(1, -23));
}

void check_draws_of_no_numbers() {
  const int64_t vocab = 40003, m = 5;
  std::vector<float> logits;
  std::vector<DrawRow> rows(m);
  for (int64_t r = 0; r < m; r++) {
    const std::vector<float> row = logits_of_kind(0, vocab, r);
    logits.insert(logits.end(), row.begin(), row.end());
    rows[r].temperature = r % 2 == 0 ? 1 : 0;
    rows[r].row = static_cast<int32_t>(r);
  }
  logits[0 * vocab + 40002] = NAN;
  logits[1 * vocab + 7] = INFINITY;
  logits[2 * vocab + 20000] = -INFINITY;
  logits[3 * vocab + 5] = -1e38f;  // infinite when it is penalised
  rows[3].penalty = 1e3f;
  rows[3].seen = 0;
  std::vector<uint32_t> bits(draw_seen_words(vocab));
  bits[0] = 1u << 5;
  const Device<float> device_logits(logits);
  const Device<DrawRow> device_rows(rows);
  const Device<uint32_t> device_bits(bits);
  const Device<int32_t> tokens(m);
  draw(device_logits.get(), vocab, device_rows.get(), m, device_bits.get(), tokens.get(), nullptr);
  CHECK_CUDA(cudaDeviceSynchronize());
  std::vector<int32_t> got = tokens.host();
  const bool last_is_drawn = got[4] >= 0 && got[4] < vocab;
  got.pop_back();
  report("draw of logits that are no numbers", last_is_drawn && got == std::vector<int32_t>(4, -1) ? 0 : 1, 0);
}

void check_draws() {
  if (race) {
    check_draws_of(9001, 1);
    return check_draws_of(9001, 2);
  }
  for (int kind = 0; kind < 5; kind++) {
    check_draws_of(33001, kind);  // eight CTAs, rows that begin anywhere
    if (small) continue;
    for (const int64_t vocab : {2, 1000, 9000, 20001, 151936}) check_draws_of(vocab, kind);
  }
  if (!small) check_draws_of(450000, 1);  // more than shared memory holds
  check_draws_of_no_numbers();
}

}  // namespace
