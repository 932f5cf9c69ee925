#include "algorithms/gptq.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "algorithms/cholesky.h"
#include "base/error.h"

namespace trimeter {
namespace {

constexpr int64_t kBlock = 128;     // inputs whose updates of the rest are made together
constexpr int64_t kChunkRows = 32;  // rows that share a tile of N while it is in cache
constexpr int64_t kTileColumns = 256;
constexpr int kRangeSteps = 80;
constexpr double kRangeNorm = 2.4;

// Of the values' own range, or of the part of it that rounds them best.
IntegerGrid::Point fit(const IntegerGrid& grid, std::span<const float> values, bool search_range) {
  if (!search_range) return grid.fit(values);
  IntegerGrid::Point best;
  double least = 0;
  for (int step = 0; step < kRangeSteps; ++step) {
    const IntegerGrid::Point point = grid.fit(values, static_cast<float>(1 - step / 100.0));
    double error = 0;
    for (const float value : values)
      error += std::pow(std::fabs(static_cast<double>(value) - grid.value(grid.code(value, point), point)), kRangeNorm);
    if (step > 0 && error >= least) continue;
    least = error;
    best = point;
  }
  return best;
}

// The inputs in the order in which their codes are chosen, with the factor N of their H.
struct Problem {
  int64_t in;
  std::vector<int32_t> order;  // [in] inputs
  std::vector<bool> dead;      // [in] by place in the order
  std::vector<double> factor;  // [in, in]

  Problem(const InputStatistics& input, const GptqOptions& options, ThreadPool& pool);
};

Problem::Problem(const InputStatistics& input, const GptqOptions& options, ThreadPool& pool)
    : in(input.in), order(in), dead(in), factor(in * in) {
  TM_CHECK(input.n_tokens > 0 && !input.gram.empty(), "no calibration tokens, or statistics without a Gram matrix");
  const double scale = 2.0 / static_cast<double>(input.n_tokens);
  const auto diagonal = [&](int32_t i) { return input.gram[i * in + i]; };
  std::iota(order.begin(), order.end(), 0);
  if (options.act_order)
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return diagonal(a) > diagonal(b); });
  pool.run([&](int thread) {
    const auto [begin, end] = pool.share(in, thread);
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = i; j < in; ++j)
        factor[i * in + j] = scale * static_cast<double>(input.gram[order[i] * in + order[j]]);
  });
  double sum = 0;
  for (int64_t i = 0; i < in; ++i) {
    double& h = factor[i * in + i];
    dead[i] = h == 0;
    if (dead[i]) h = 1;
    sum += h;
  }
  for (int64_t i = 0; i < in; ++i) factor[i * in + i] += options.damping * sum / static_cast<double>(in);
  if (!factor_upper(factor, in, pool))
    throw Error(Errc::kBadArgument,
                "gptq: the Hessian of {} inputs over {} tokens is not positive definite with a damping of {}; wanted "
                "more of either",
                in, input.n_tokens, options.damping);
  invert_unit_upper(factor, in, pool);
}

class RowQuantizer {
 public:
  RowQuantizer(const Problem& problem, const IntegerGrid& grid, const GptqOptions& options, CanonicalWeight& result)
      : problem_(problem),
        grid_(grid),
        options_(options),
        result_(result),
        in_(problem.in),
        group_(grid.group_size > 0 ? grid.group_size : in_) {}

  // weight: all rows; at most kChunkRows of them are done.
  void run(std::span<const float> weight, int64_t row_begin, int64_t row_end);

 private:
  bool is_static() const { return options_.static_groups; }
  // The group of the input at place j.
  int64_t group_of(int64_t j) const { return (is_static() ? problem_.order[j] : j) / group_; }
  IntegerGrid::Point& point(int64_t row, int64_t g) { return points_[row * (in_ / group_) + g]; }
  void find_static_points(int64_t n_rows);
  void run_block(int64_t row, int64_t begin, int64_t end, int64_t result_row);

  const Problem& problem_;
  const IntegerGrid& grid_;
  const GptqOptions& options_;
  CanonicalWeight& result_;
  const int64_t in_, group_;
  // In the order of codes:
  std::vector<double> weight_;              // [rows, in] updated
  std::vector<double> error_;               // [rows, kBlock] w - q of the block's inputs
  std::vector<IntegerGrid::Point> points_;  // [rows, groups]
};

void RowQuantizer::find_static_points(int64_t n_rows) {
  std::vector<float> values(in_);
  for (int64_t row = 0; row < n_rows; ++row) {
    for (int64_t j = 0; j < in_; ++j) values[problem_.order[j]] = static_cast<float>(weight_[row * in_ + j]);
    for (int64_t g = 0; g < in_ / group_; ++g)
      point(row, g) = fit(grid_, std::span(values).subspan(g * group_, group_), options_.search_range);
  }
}

void RowQuantizer::run_block(int64_t row, int64_t begin, int64_t end, int64_t result_row) {
  double* w = &weight_[row * in_];
  std::vector<float> values(group_);
  for (int64_t j = begin; j < end; ++j) {
    if (!is_static() && j % group_ == 0) {
      std::transform(w + j, w + j + group_, values.begin(), [](double v) { return static_cast<float>(v); });
      point(row, j / group_) = fit(grid_, values, options_.search_range);
    }
    const IntegerGrid::Point p = point(row, group_of(j));
    const uint8_t code = grid_.code(static_cast<float>(w[j]), p);
    result_.codes[result_row * in_ + problem_.order[j]] = code;
    double& error = error_[row * kBlock + j - begin];
    error = w[j] - static_cast<double>(grid_.value(code, p));
    subtract_products(w + j + 1, end - j - 1, &error, &problem_.factor[j * in_ + j + 1], in_, 1);
  }
}

void RowQuantizer::run(std::span<const float> weight, int64_t row_begin, int64_t row_end) {
  const int64_t n_rows = row_end - row_begin, n_groups = in_ / group_;
  weight_.resize(n_rows * in_);
  error_.resize(n_rows * kBlock);
  points_.resize(n_rows * n_groups);
  for (int64_t row = 0; row < n_rows; ++row)
    for (int64_t j = 0; j < in_; ++j)
      weight_[row * in_ + j] =
          problem_.dead[j] ? 0 : static_cast<double>(weight[(row_begin + row) * in_ + problem_.order[j]]);
  if (is_static()) find_static_points(n_rows);
  for (int64_t begin = 0; begin < in_; begin += kBlock) {
    const int64_t end = std::min(begin + kBlock, in_);
    for (int64_t row = 0; row < n_rows; ++row) run_block(row, begin, end, row_begin + row);
    for (int64_t column = end; column < in_; column += kTileColumns)
      for (int64_t row = 0; row < n_rows; ++row)
        subtract_products(&weight_[row * in_ + column], std::min(kTileColumns, in_ - column), &error_[row * kBlock],
                          &problem_.factor[begin * in_ + column], in_, end - begin);
  }
  for (int64_t i = 0; i < n_rows * n_groups; ++i) {
    result_.scales[row_begin * n_groups + i] = points_[i].scale;
    if (grid_.zero_points) result_.zeros[row_begin * n_groups + i] = points_[i].zero;
  }
}

}  // namespace

CanonicalWeight gptq(std::span<const float> weight, const InputStatistics& input, const IntegerGrid& grid,
                     const GptqOptions& options, ThreadPool& pool) {
  const int64_t in = input.in, size = static_cast<int64_t>(weight.size()), group = grid.group_size;
  TM_CHECK(in > 0 && size % in == 0, "{} weights are no rows of {}", size, in);
  TM_CHECK(group == 0 || (in % group == 0 && (kBlock % group == 0 || group % kBlock == 0)),
           "groups of {} and {} inputs", group, in);
  const int64_t out = size / in, n_groups = group > 0 ? in / group : 1;
  const Problem problem(input, options, pool);
  CanonicalWeight result;
  result.shape = {.out = out, .in = in};
  result.codes.resize(size);
  result.scales.resize(out * n_groups);
  if (grid.zero_points) result.zeros.resize(out * n_groups);
  if (options.act_order && !options.static_groups && group > 0) {
    result.group_of_input.resize(in);
    for (int64_t j = 0; j < in; ++j) result.group_of_input[problem.order[j]] = static_cast<int32_t>(j / group);
  }
  pool.run([&](int thread) {
    RowQuantizer quantizer(problem, grid, options, result);
    const auto [begin, end] = pool.share(out, thread);
    for (int64_t row = begin; row < end; row += kChunkRows) quantizer.run(weight, row, std::min(row + kChunkRows, end));
  });
  return result;
}

}  // namespace trimeter
