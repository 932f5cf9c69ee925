// The factorization that GPTQ's updates come from.
#pragma once
#include <cstdint>
#include <span>

#include "base/thread_pool.h"

namespace trimeter {

// H = M D M^T, M upper triangular with a diagonal of 1, D diagonal. h: [n, n] symmetric, the upper triangle is read; in
// place: M lies in the strict upper triangle, D on the diagonal, what is below is left as it is. False if H is not
// positive definite (h is then spoilt). By blocks of 64 columns from the last, n^3 / 3 multiplications and additions;
// the same bits for any number of threads.
bool factor_upper(std::span<double> h, int64_t n, ThreadPool& pool);

// M^-1 in place of M [n, n], upper triangular with a diagonal of 1: the diagonal is not read and set to 1, what is
// below must be zero. n^3 / 3 as well; the same bits for any number of threads.
void invert_unit_upper(std::span<double> m, int64_t n, ThreadPool& pool);

// y[k] -= sum_j factors[j] * rows[j, k] for k < n and j < m, in order of j by fours. Rows are `stride` apart; nothing
// overlaps y.
void subtract_products(double* y, int64_t n, const double* factors, const double* rows, int64_t stride, int64_t m);

}  // namespace trimeter
