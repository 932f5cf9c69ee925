#include <algorithm>
#include <random>

#include "probe/parts.h"
#include "probe/team_time.h"
#include "schemes/scheme.h"

namespace trimeter {
namespace {

// Token counts where a kernel's blocking may change, and some beyond.
constexpr int64_t kTokenCounts[] = {1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 32, 64, 128};
// Two widths of the same size, so that the part per output can be told from the part per weight; 64 Ki weights are in
// L2 in every format.
constexpr MatShape kNarrow{256, 256}, kWide{64, 1024};

// One thread's matrix and inputs of a scheme.
class Problem {
 public:
  Problem(const Scheme& scheme, MatShape shape, int64_t n_tokens, Isa isa, ThreadPool& pool)
      : scheme_(scheme),
        shape_(shape),
        isa_(isa),
        arena_(scheme.prepared_bytes(n_tokens, shape.in, isa), "scheme probe") {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> value(-1, 1);
    std::vector<float> rows(static_cast<size_t>(shape.out * shape.in));
    for (float& x : rows) x = value(random);
    inputs_.resize(static_cast<size_t>(n_tokens * shape.in));
    for (float& x : inputs_) x = value(random);
    outputs_.resize(static_cast<size_t>(n_tokens * shape.out));
    const DenseRows part{reinterpret_cast<const std::byte*>(rows.data()), DType::kF32, shape.out};
    weight_ = scheme.pack(scheme.quantize_rtn({&part, 1}, shape), pool);
    prepared_ = scheme.take_prepared(arena_, n_tokens, shape.in, isa);
    prepare(n_tokens);
  }
  void prepare(int64_t n_tokens) { scheme_.prepare(inputs_.data(), 0, n_tokens, prepared_, isa_); }
  void multiply(int64_t n_tokens) {
    PreparedInput x = prepared_;
    x.n_tokens = n_tokens;
    scheme_.multiply(weight_, x, 0, shape_.out, nullptr, false, outputs_.data(), shape_.out, isa_);
  }

 private:
  const Scheme& scheme_;
  MatShape shape_;
  Isa isa_;
  Arena arena_;
  std::vector<float> inputs_, outputs_;
  PackedWeight weight_;
  PreparedInput prepared_;
};

}  // namespace

void measure_scheme(HardwareProfile& profile, ThreadPool& team, std::string_view scheme_name, Isa isa) {
  const Scheme& measured = scheme(scheme_name);
  constexpr int64_t kPreparedTokens = 16;  // in L2, as a step's inputs are
  constexpr int64_t kMostTokens = kTokenCounts[std::size(kTokenCounts) - 1];
  ThreadPool alone(1);
  std::vector<Problem> narrow, wide;
  narrow.reserve(static_cast<size_t>(team.size()));
  wide.reserve(static_cast<size_t>(team.size()));
  for (int thread = 0; thread < team.size(); ++thread) {
    narrow.emplace_back(measured, kNarrow, kMostTokens, isa, alone);
    wide.emplace_back(measured, kWide, kMostTokens, isa, alone);
  }
  const auto problem = [](std::vector<Problem>& of, int thread) -> Problem& { return of[static_cast<size_t>(thread)]; };
  const double prepare_s = time_per_call(team, [&](int thread) { problem(wide, thread).prepare(kPreparedTokens); });
  for (const int64_t n_tokens : kTokenCounts) {
    const double narrow_s = time_per_call(team, [&](int thread) { problem(narrow, thread).multiply(n_tokens); });
    const double wide_s = time_per_call(team, [&](int thread) { problem(wide, thread).multiply(n_tokens); });
    // time = out * (in * per_weight + per_output), twice; noise must not make a part negative.
    const double narrow_row = narrow_s / kNarrow.out, wide_row = wide_s / kWide.out;
    const double per_output =
        std::max(0.0, narrow_row - (wide_row - narrow_row) * kNarrow.in / (kWide.in - kNarrow.in));
    KernelRate rate;
    rate.scheme = scheme_name;
    rate.isa = name(isa);
    rate.n_tokens = n_tokens;
    rate.seconds_per_output = std::min(per_output, 0.9 * wide_row);
    rate.seconds_per_weight = (wide_row - rate.seconds_per_output) / kWide.in;
    rate.seconds_per_input = prepare_s / static_cast<double>(kPreparedTokens * kWide.in);
    profile.kernels.push_back(rate);
  }
}

}  // namespace trimeter
