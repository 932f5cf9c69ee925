// multiply() of every scheme and ISA, one thread: bytes of packed weight and floating-point operations per second, on a
// matrix that stays in the L2 cache and on one that does not fit any.
//   build/bench_kernels --benchmark_filter=bf16.*avx512_bf16
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <random>

#include "schemes/scheme.h"

namespace trimeter {
namespace {

struct Size {
  const char* name;
  MatShape shape;
};
constexpr Size kSizes[] = {{"cache", {256, 768}}, {"memory", {8192, 4096}}};

struct Problem {
  const Scheme* scheme = nullptr;
  MatShape shape;
  PackedWeight packed;
};

// Packs again only when scheme or shape change.
const Problem& problem(const Scheme& scheme, MatShape shape) {
  static Problem held;
  if (held.scheme == &scheme && held.shape.out == shape.out) return held;
  ThreadPool pool(1);
  std::vector<float> dense(shape.out * shape.in);
  std::minstd_rand generator(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  for (float& value : dense) value = uniform(generator);
  const DenseRows part{reinterpret_cast<const std::byte*>(dense.data()), DType::kF32, shape.out};
  held = Problem{&scheme, shape, scheme.pack(scheme.quantize_rtn({&part, 1}, shape), pool)};
  return held;
}

void run(benchmark::State& state, const Scheme& scheme, Isa isa, MatShape shape, int64_t n_tokens) {
  const Problem& p = problem(scheme, shape);
  const std::vector<float> x(n_tokens * shape.in, 0.5f);
  std::vector<float> y(n_tokens * shape.out);
  Arena arena(scheme.prepared_bytes(n_tokens, shape.in, isa));
  const PreparedInput input = scheme.take_prepared(arena, n_tokens, shape.in, isa);
  scheme.prepare(p.packed, x.data(), 0, n_tokens, input, isa);
  for (auto _ : state) {
    scheme.multiply(p.packed, input, 0, shape.out, nullptr, false, y.data(), shape.out, isa);
    benchmark::ClobberMemory();
  }
  const double flops = 2.0 * static_cast<double>(shape.out * shape.in * n_tokens);
  state.counters["flop/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["byte/s"] = benchmark::Counter(static_cast<double>(scheme.bytes(shape).total()),
                                                benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace
}  // namespace trimeter

int main(int argc, char** argv) {
  using namespace trimeter;
  for (const Scheme* scheme : all_schemes())
    for (const Size& size : kSizes)
      for (const Isa isa : runnable_isas())
        for (const int64_t n_tokens : {1, 4, 16, 64})
          benchmark::RegisterBenchmark(
              fmt::format("{}/{}/{}/m={}", scheme->info().name, size.name, name(isa), n_tokens).c_str(),
              [=](benchmark::State& state) { run(state, *scheme, isa, size.shape, n_tokens); });
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
