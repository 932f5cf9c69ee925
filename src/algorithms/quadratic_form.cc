#include "algorithms/quadratic_form.h"

#include <cstring>

namespace trimeter {

QuadraticForm::QuadraticForm(const float* g, int64_t n, int64_t stride, ThreadPool& pool)
    : n_(n), isa_(active_isa()), fp32_(scheme("fp32")) {
  std::vector<float> block;
  if (stride != n) {
    block.resize(n * n);
    for (int64_t row = 0; row < n; ++row) std::memcpy(&block[row * n], g + row * stride, n * sizeof(float));
    g = block.data();
  }
  CanonicalWeight weight;
  weight.shape = {.out = n, .in = n};
  weight.dense = {{.data = reinterpret_cast<const std::byte*>(g), .dtype = DType::kF32, .n_rows = n}};
  packed_ = fp32_.pack(weight, pool);
}

QuadraticForm::Scratch QuadraticForm::scratch() const {
  Scratch scratch{Arena(fp32_.prepared_bytes(kChunkRows, n_, isa_), "quadratic form"), {}, {}};
  scratch.input = fp32_.take_prepared(scratch.arena, kChunkRows, n_, isa_);
  scratch.product.resize(kChunkRows * n_);
  return scratch;
}

void QuadraticForm::evaluate(const float* d, int64_t n_rows, Scratch& scratch, double* values) const {
  PreparedInput input = scratch.input;
  input.n_tokens = n_rows;
  fp32_.prepare(packed_, d, 0, n_rows, input, isa_);
  fp32_.multiply(packed_, input, 0, n_, nullptr, false, scratch.product.data(), n_, isa_);
  for (int64_t row = 0; row < n_rows; ++row) {
    double sum = 0;
    for (int64_t i = 0; i < n_; ++i)
      sum += static_cast<double>(d[row * n_ + i]) * static_cast<double>(scratch.product[row * n_ + i]);
    values[row] = sum;
  }
}

}  // namespace trimeter
