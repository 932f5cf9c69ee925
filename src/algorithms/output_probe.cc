#include "algorithms/output_probe.h"

#include "base/error.h"

namespace trimeter {
namespace {

std::vector<float> multiply(const Scheme& scheme, const CanonicalWeight& weight, std::span<const float> x,
                            ThreadPool& pool) {
  const Isa isa = active_isa();
  const auto [out, in] = weight.shape;
  const int64_t n = static_cast<int64_t>(x.size()) / in;
  const PackedWeight packed = scheme.pack(weight, pool);
  Arena arena(scheme.prepared_bytes(n, in, isa), "sampled activations");
  const PreparedInput input = scheme.take_prepared(arena, n, in, isa);
  std::vector<float> y(n * out);
  pool.run([&](int thread) {
    const auto [first, last] = pool.share(n, thread);
    if (first < last) scheme.prepare(packed, x.data(), first, last, input, isa);
    pool.barrier();
    const auto [begin, end] = pool.share(weight.shape.out, thread, kPanelRows);
    if (begin < end) scheme.multiply(packed, input, begin, end, nullptr, false, y.data(), weight.shape.out, isa);
  });
  return y;
}

}  // namespace

OutputProbe::OutputProbe(std::span<const float> weight, std::span<const float> x, int64_t in, ThreadPool& pool)
    : out_(static_cast<int64_t>(weight.size()) / in), in_(in) {
  TM_CHECK(!x.empty() && x.size() % in == 0 && weight.size() % in == 0, "{} inputs and {} weights of width {}",
           x.size(), weight.size(), in);
  CanonicalWeight dense;
  dense.shape = {.out = out_, .in = in_};
  dense.dense = {{.data = reinterpret_cast<const std::byte*>(weight.data()), .dtype = DType::kF32, .n_rows = out_}};
  outputs_ = multiply(scheme("fp32"), dense, x, pool);
}

double OutputProbe::relative_error(const Scheme& scheme, const CanonicalWeight& weight, std::span<const float> x,
                                   ThreadPool& pool) const {
  TM_CHECK(weight.shape.out == out_ && weight.shape.in == in_ && x.size() * out_ == outputs_.size() * in_,
           "{} x {} for {} inputs, wanted {} x {}", weight.shape.out, weight.shape.in, x.size(), out_, in_);
  const std::vector<float> got = multiply(scheme, weight, x, pool);
  double difference = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double want = static_cast<double>(outputs_[i]), d = static_cast<double>(got[i]) - want;
    difference += d * d;
    norm += want * want;
  }
  return difference == 0 ? 0 : difference / norm;
}

}  // namespace trimeter
