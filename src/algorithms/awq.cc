#include "algorithms/awq.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "algorithms/quadratic_form.h"
#include "base/error.h"

namespace trimeter {
namespace {

constexpr int64_t kChunkRows = QuadraticForm::kChunkRows;

DenseRows as_rows(const float* values, int64_t n_rows) {
  return {.data = reinterpret_cast<const std::byte*>(values), .dtype = DType::kF32, .n_rows = n_rows};
}

// Q(w): to the scheme's nearest codes and back. w: [n_rows, in].
std::vector<float> round_trip(const Scheme& scheme, const float* w, int64_t n_rows, int64_t in) {
  const DenseRows rows = as_rows(w, n_rows);
  return scheme.dequantize(scheme.quantize_rtn(std::span(&rows, 1), {.out = n_rows, .in = in}));
}

// body(thread, row_begin, row_end) over all rows, at most kChunkRows at a time; which thread has which rows must not
// matter to what body computes.
template <class Body>
void for_row_chunks(int64_t n_rows, ThreadPool& pool, const Body& body) {
  pool.run([&](int thread) {
    const auto [begin, end] = pool.share(n_rows, thread);
    for (int64_t row = begin; row < end; row += kChunkRows) body(thread, row, std::min(row + kChunkRows, end));
  });
}

std::vector<QuadraticForm::Scratch> scratch_per_thread(const QuadraticForm& form, const ThreadPool& pool) {
  std::vector<QuadraticForm::Scratch> scratch;
  for (int thread = 0; thread < pool.size(); ++thread) scratch.push_back(form.scratch());
  return scratch;
}

double mean_over_outputs(std::span<const double> row_errors, const InputStatistics& input) {
  const double sum = std::accumulate(row_errors.begin(), row_errors.end(), 0.0);
  return sum / (static_cast<double>(input.n_tokens) * static_cast<double>(row_errors.size()));
}

int64_t rows_of(std::span<const float> weight, int64_t in) {
  const int64_t size = static_cast<int64_t>(weight.size());
  TM_CHECK(in > 0 && size % in == 0, "{} weights are no rows of {}", size, in);
  return size / in;
}

}  // namespace

double output_error(std::span<const float> difference, const InputStatistics& input, ThreadPool& pool) {
  const int64_t out = rows_of(difference, input.in);
  const QuadraticForm form(input.gram.data(), input.in, input.in, pool);
  auto scratch = scratch_per_thread(form, pool);
  std::vector<double> errors(out);
  for_row_chunks(out, pool, [&](int thread, int64_t begin, int64_t end) {
    form.evaluate(&difference[begin * input.in], end - begin, scratch[thread], &errors[begin]);
  });
  return mean_over_outputs(errors, input);
}

std::vector<float> awq_scales(const InputStatistics& input, double exponent) {
  std::vector<double> magnitude(input.in);
  for (int64_t i = 0; i < input.in; ++i)
    magnitude[i] = std::max(std::pow(input.abs_sum[i] / static_cast<double>(input.n_tokens), exponent), 1e-4);
  const auto [low, high] = std::minmax_element(magnitude.begin(), magnitude.end());
  const double middle = std::sqrt(*low * *high);
  std::vector<float> scales(input.in);
  for (int64_t i = 0; i < input.in; ++i) scales[i] = static_cast<float>(magnitude[i] / middle);
  return scales;
}

AwqScales awq_search_scales(std::span<const float> weight, const InputStatistics& input, const Scheme& scheme,
                            const AwqOptions& options, ThreadPool& pool) {
  const int64_t in = input.in, out = rows_of(weight, in);
  TM_CHECK(input.n_tokens > 0, "no calibration tokens");
  const QuadraticForm form(input.gram.data(), in, in, pool);
  auto scratch = scratch_per_thread(form, pool);
  std::vector<double> errors(out);
  AwqScales best;
  for (int step = 0; step < options.n_grid; ++step) {
    const double exponent = static_cast<double>(step) / options.n_grid;
    std::vector<float> scales = awq_scales(input, exponent);
    for_row_chunks(out, pool, [&](int thread, int64_t begin, int64_t end) {
      const float* w = &weight[begin * in];
      const int64_t n_rows = end - begin;
      std::vector<float> scaled(w, w + n_rows * in);
      multiply_columns(scaled, scales);
      std::vector<float> difference = round_trip(scheme, scaled.data(), n_rows, in);
      for (int64_t row = 0; row < n_rows; ++row)
        for (int64_t i = 0; i < in; ++i)
          difference[row * in + i] = difference[row * in + i] / scales[i] - w[row * in + i];
      form.evaluate(difference.data(), n_rows, scratch[thread], &errors[begin]);
    });
    const double error = mean_over_outputs(errors, input);
    if (step == 0) best.error_rtn = error;
    if (step == 0 || error < best.error) {
      best.error = error;
      best.exponent = exponent;
      best.scales = std::move(scales);
    }
  }
  return best;
}

namespace {

// The clipping search of one chunk of rows; every member is [n_rows, n_groups] or [n_rows, in], row-major.
struct ClipSearch {
  const Scheme& scheme;
  const std::vector<std::unique_ptr<QuadraticForm>>& forms;  // one a group
  int64_t in, group;

  // before, after: [n_rows], the sums over a row's groups.
  void run(float* weight, int64_t n_rows, const AwqOptions& options, QuadraticForm::Scratch& scratch, double* before,
           double* after) const {
    const int64_t n_groups = in / group;
    std::vector<float> largest(n_rows * n_groups), best(n_rows * n_groups, 1.0f);
    std::vector<double> least(n_rows * n_groups), errors(n_rows);
    for (int64_t cell = 0; cell < n_rows * n_groups; ++cell)
      for (int64_t i = 0; i < group; ++i) largest[cell] = std::max(largest[cell], std::fabs(weight[cell * group + i]));
    std::vector<float> clamped(n_rows * in), block(n_rows * group);
    const int n_steps = static_cast<int>(options.max_shrink * options.n_clip_grid);
    for (int step = 0; step < n_steps; ++step) {
      const float fraction = static_cast<float>(1.0 - static_cast<double>(step) / options.n_clip_grid);
      for (int64_t i = 0; i < n_rows * in; ++i) {
        const float limit = largest[i / group] * fraction;
        clamped[i] = std::clamp(weight[i], -limit, limit);
      }
      const std::vector<float> rounded = round_trip(scheme, clamped.data(), n_rows, in);
      for (int64_t g = 0; g < n_groups; ++g) {
        for (int64_t row = 0; row < n_rows; ++row)
          for (int64_t i = 0; i < group; ++i) {
            const int64_t at = row * in + g * group + i;
            block[row * group + i] = rounded[at] - weight[at];
          }
        forms[g]->evaluate(block.data(), n_rows, scratch, errors.data());
        for (int64_t row = 0; row < n_rows; ++row) {
          const int64_t cell = row * n_groups + g;
          if (step == 0) before[row] += errors[row];
          if (step != 0 && errors[row] >= least[cell]) continue;
          least[cell] = errors[row];
          best[cell] = fraction;
        }
      }
    }
    for (int64_t cell = 0; cell < n_rows * n_groups; ++cell) {
      after[cell / n_groups] += least[cell];
      const float limit = largest[cell] * best[cell];
      for (int64_t i = cell * group; i < (cell + 1) * group; ++i) weight[i] = std::clamp(weight[i], -limit, limit);
    }
  }
};

}  // namespace

AwqClip awq_clip(std::span<float> weight, const InputStatistics& input, const Scheme& scheme, const AwqOptions& options,
                 ThreadPool& pool) {
  const int64_t in = input.in, n_rows = rows_of(weight, in);
  const int64_t group = scheme.info().group_size > 0 ? scheme.info().group_size : in;
  TM_CHECK(in % group == 0, "scheme {} has groups of {}, the input is {} wide", scheme.info().name, group, in);
  std::vector<std::unique_ptr<QuadraticForm>> forms;
  for (int64_t g = 0; g < in; g += group)
    forms.push_back(std::make_unique<QuadraticForm>(&input.gram[g * in + g], group, in, pool));
  auto scratch = scratch_per_thread(*forms[0], pool);
  const ClipSearch search{scheme, forms, in, group};
  std::vector<double> before(n_rows), after(n_rows);
  for_row_chunks(n_rows, pool, [&](int thread, int64_t begin, int64_t end) {
    search.run(&weight[begin * in], end - begin, options, scratch[thread], &before[begin], &after[begin]);
  });
  return {mean_over_outputs(before, input), mean_over_outputs(after, input)};
}

void multiply_columns(std::span<float> weight, std::span<const float> scales) {
  for (size_t i = 0; i < weight.size(); i += scales.size())
    for (size_t j = 0; j < scales.size(); ++j) weight[i + j] *= scales[j];
}

void divide_rows(std::span<float> weight, std::span<const float> scales) {
  const size_t in = weight.size() / scales.size();
  for (size_t row = 0; row < scales.size(); ++row)
    for (size_t j = 0; j < in; ++j) weight[row * in + j] /= scales[row];
}

}  // namespace trimeter
