// What the schemes' own tests share.
#pragma once
#include <vector>

#include "schemes/scheme.h"

namespace trimeter {

// y [n_tokens, out] = x w^T, x [n_tokens, in].
inline std::vector<float> multiply_all(const Scheme& scheme, const PackedWeight& weight, const std::vector<float>& x,
                                       int64_t n_tokens, Isa isa) {
  const MatShape shape = weight.shape;
  Arena arena(scheme.prepared_bytes(n_tokens, shape.in, isa));
  const PreparedInput input = scheme.take_prepared(arena, n_tokens, shape.in, isa);
  scheme.prepare(weight, x.data(), 0, n_tokens, input, isa);
  std::vector<float> y(n_tokens * shape.out);
  scheme.multiply(weight, input, 0, shape.out, nullptr, false, y.data(), shape.out, isa);
  return y;
}

// [n, n] with `value` on the diagonal: token k sees column k of the weight alone.
inline std::vector<float> diagonal(int64_t n, float value) {
  std::vector<float> x(n * n);
  for (int64_t i = 0; i < n; ++i) x[i * n + i] = value;
  return x;
}

}  // namespace trimeter
