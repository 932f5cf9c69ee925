#include "algorithms/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace trimeter {

void subtract_products(double* __restrict y, int64_t n, const double* __restrict factors, const double* __restrict rows,
                       int64_t stride, int64_t m) {
  int64_t j = 0;
  for (; j + 4 <= m; j += 4) {
    const double *r0 = rows + j * stride, *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    const double f0 = factors[j], f1 = factors[j + 1], f2 = factors[j + 2], f3 = factors[j + 3];
    for (int64_t k = 0; k < n; ++k) y[k] -= (f0 * r0[k] + f1 * r1[k]) + (f2 * r2[k] + f3 * r3[k]);
  }
  for (; j < m; ++j)
    for (int64_t k = 0; k < n; ++k) y[k] -= factors[j] * rows[j * stride + k];
}

namespace {

constexpr int64_t kBlock = 64;

// Columns [begin, end) of row i of the root V (H = V V^T), from the last; those right of `end` are already subtracted.
void solve_row(double* row, const double* h, int64_t n, int64_t begin, int64_t end) {
  for (int64_t j = end - 1; j >= begin; --j) {
    double sum = row[j];
    for (int64_t k = j + 1; k < end; ++k) sum -= row[k] * h[j * n + k];
    row[j] = sum / h[j * n + j];
  }
}

// The block on the diagonal.
bool factor_block(double* h, int64_t n, int64_t begin, int64_t end) {
  for (int64_t j = end - 1; j >= begin; --j) {
    double* row = h + j * n;
    solve_row(row, h, n, j + 1, end);
    for (int64_t k = j + 1; k < end; ++k) row[j] -= row[k] * row[k];
    if (!(row[j] > 0)) return false;
    row[j] = std::sqrt(row[j]);
  }
  return true;
}

// The block on the diagonal, row by row from the last.
void invert_block(double* m, int64_t n, int64_t begin, int64_t end) {
  double row[kBlock];
  for (int64_t i = end - 1; i >= begin; --i) {
    double* out = m + i * n;
    std::copy(out + i + 1, out + end, row + (i + 1 - begin));
    out[i] = 1;
    std::fill(out + i + 1, out + end, 0.0);
    subtract_products(out + i + 1, end - i - 1, row + (i + 1 - begin), m + (i + 1) * n + i + 1, n, end - i - 1);
  }
}

}  // namespace

bool factor_upper(std::span<double> matrix, int64_t n, ThreadPool& pool) {
  TM_CHECK(static_cast<int64_t>(matrix.size()) == n * n, "{} values for {} x {}", matrix.size(), n, n);
  double* h = matrix.data();
  std::vector<double> panel(kBlock * n);  // [kBlock, begin]: the block's columns above it, transposed
  for (int64_t end = n; end > 0;) {
    const int64_t begin = std::max<int64_t>(0, end - kBlock);
    if (!factor_block(h, n, begin, end)) return false;
    pool.run([&](int thread) {
      // Rows are dealt in turn, as they are of falling length.
      for (int64_t i = thread; i < begin; i += pool.size()) {
        solve_row(h + i * n, h, n, begin, end);
        for (int64_t j = begin; j < end; ++j) panel[(j - begin) * n + i] = h[i * n + j];
      }
      pool.barrier();
      for (int64_t i = thread; i < begin; i += pool.size())
        subtract_products(h + i * n + i, begin - i, h + i * n + begin, &panel[i], n, end - begin);
    });
    end = begin;
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) h[i * n + j] /= h[j * n + j];
  for (int64_t j = 0; j < n; ++j) h[j * n + j] *= h[j * n + j];
  return true;
}

// Rows [begin, end) of the inverse right of their block: -B^-1 T R^-1 with B that block, T what lies right of it in M,
// and R^-1 the part below, which is done.
void invert_unit_upper(std::span<double> matrix, int64_t n, ThreadPool& pool) {
  TM_CHECK(static_cast<int64_t>(matrix.size()) == n * n, "{} values for {} x {}", matrix.size(), n, n);
  double* m = matrix.data();
  std::vector<double> product(kBlock * n);  // -T R^-1
  for (int64_t end = n; end > 0;) {
    const int64_t begin = std::max<int64_t>(0, end - kBlock);
    invert_block(m, n, begin, end);
    pool.run([&](int thread) {
      const auto [first, last] = pool.share(end - begin, thread);
      for (int64_t i = first; i < last; ++i) {
        double* y = &product[i * n];
        const double* row = m + (begin + i) * n;
        std::fill(y + end, y + n, 0.0);
        for (int64_t k = end; k < n; k += kBlock)  // R^-1 is zero left of k
          subtract_products(y + k, n - k, row + k, m + k * n + k, n, std::min(kBlock, n - k));
      }
      pool.barrier();
      for (int64_t i = first; i < last; ++i) {
        double* row = m + (begin + i) * n;
        double negated[kBlock];
        for (int64_t k = i; k < end - begin; ++k) negated[k] = -row[begin + k];
        std::fill(row + end, row + n, 0.0);
        subtract_products(row + end, n - end, negated + i, &product[i * n + end], n, end - begin - i);
      }
    });
    end = begin;
  }
}

}  // namespace trimeter
