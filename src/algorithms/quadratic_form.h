// d^T G d for many rows d and one symmetric matrix G, through the fp32 scheme's kernels.
#pragma once
#include <cstdint>
#include <vector>

#include "base/cpu.h"
#include "base/thread_pool.h"
#include "schemes/scheme.h"

namespace trimeter {

class QuadraticForm {
 public:
  static constexpr int64_t kChunkRows = 64;  // rows a call: G is read from cache once for all of them

  // g: [n, n] symmetric, row stride `stride`. Packs a copy.
  QuadraticForm(const float* g, int64_t n, int64_t stride, ThreadPool& pool);

  struct Scratch {
    Arena arena;
    PreparedInput input;
    std::vector<float> product;  // [kChunkRows, n]
  };
  Scratch scratch() const;  // one per thread

  // values[r] = d[r] G d[r]^T for r < n_rows <= kChunkRows; d: [n_rows, n]. The product is fp32, its sum double.
  void evaluate(const float* d, int64_t n_rows, Scratch& scratch, double* values) const;

 private:
  int64_t n_;
  Isa isa_;
  const Scheme& fp32_;
  PackedWeight packed_;
};

}  // namespace trimeter
