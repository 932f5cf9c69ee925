#include <algorithm>
#include <cstring>
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

// Streamed through for the overlap: beyond most L3 caches. What it says is how the kernel's reads and products overlap,
// which the bandwidth of the same working set separates, so it need not be beyond all.
constexpr int64_t kStreamedBytes = int64_t{64} << 20;
constexpr int64_t kStreamedTokens[] = {1, 4, 8, 16, 32};

// A read this much shorter than the products is not worth the time to find out how much of it they hide.
constexpr double kNegligible = 0.05;

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
  void prepare(int64_t n_tokens) { scheme_.prepare(weight_, inputs_.data(), 0, n_tokens, prepared_, isa_); }
  void multiply(int64_t n_tokens) { multiply(weight_, n_tokens); }
  // Adds copies of the matrix until they have `bytes`.
  void copy_until(int64_t bytes) {
    for (int64_t have = 0; have < bytes; have += scheme_.bytes(shape_).total()) {
      copies_.push_back(copy_of(weight_));
    }
  }
  void multiply_copies(int64_t n_tokens) {
    for (const PackedWeight& copy : copies_) multiply(copy, n_tokens);
  }
  int64_t copied_bytes() const { return static_cast<int64_t>(copies_.size()) * scheme_.bytes(shape_).total(); }
  int64_t n_copies() const { return static_cast<int64_t>(copies_.size()); }

 private:
  static PackedWeight copy_of(const PackedWeight& from) {
    PackedWeight copy;
    copy.shape = from.shape;
    copy.tensor_scale = from.tensor_scale;
    copy.values = copy_of(from.values);
    copy.scales = copy_of(from.scales);
    for (const PackedWeight& part : from.parts) copy.parts.push_back(copy_of(part));
    return copy;
  }
  static Buffer copy_of(const Buffer& from) {
    Buffer copy(from.size(), "scheme probe");
    if (from.size() > 0) std::memcpy(copy.data(), from.data(), static_cast<size_t>(from.size()));
    return copy;
  }
  void multiply(const PackedWeight& weight, int64_t n_tokens) {
    PreparedInput x = prepared_;
    x.n_tokens = n_tokens;
    scheme_.multiply(weight, x, 0, shape_.out, nullptr, false, outputs_.data(), shape_.out, isa_);
  }

  const Scheme& scheme_;
  MatShape shape_;
  Isa isa_;
  Arena arena_;
  std::vector<float> inputs_, outputs_;
  PackedWeight weight_;
  std::vector<PackedWeight> copies_;
  PreparedInput prepared_;
};

using Problems = std::vector<Problem>;  // one for each thread

Problem& of(Problems& problems, int thread) { return problems[static_cast<size_t>(thread)]; }

// time = out * (in * per_weight + per_output), for two shapes; noise must not make a part negative.
void solve_rate(double narrow_s, double wide_s, KernelRate& rate) {
  const double narrow_row = narrow_s / kNarrow.out, wide_row = wide_s / kWide.out;
  const double per_output = narrow_row - (wide_row - narrow_row) * kNarrow.in / (kWide.in - kNarrow.in);
  rate.seconds_per_output = std::clamp(per_output, 0.0, 0.9 * wide_row);
  rate.seconds_per_weight = (wide_row - rate.seconds_per_output) / kWide.in;
}

// overlap of one token count: what streaming takes beyond the longer of reading and multiplying.
double measure_overlap(const HardwareProfile& profile, ThreadPool& team, Problems& problems, int64_t n_tokens,
                       double multiply_s) {
  const int64_t bytes = problems.front().copied_bytes() * team.size();
  const double read_s = static_cast<double>(bytes) / profile.read_bandwidth_bytes_per_s(team.size(), bytes);
  const double all_s = multiply_s * static_cast<double>(problems.front().n_copies());
  if (read_s < all_s * kNegligible) return 1;
  const double streamed_s = time_per_call(
      team, [&](int thread) { of(problems, thread).multiply_copies(n_tokens); }, 1e-4, 5);
  return std::clamp(1 - (streamed_s - std::max(read_s, all_s)) / std::min(read_s, all_s), 0.0, 1.0);
}

}  // namespace

void measure_scheme(HardwareProfile& profile, ThreadPool& team, std::string_view scheme_name, Isa isa) {
  const Scheme& measured = scheme(scheme_name);
  constexpr int64_t kPreparedTokens = 16;  // in L2, as a step's inputs are
  constexpr int64_t kMostTokens = kTokenCounts[std::size(kTokenCounts) - 1];
  ThreadPool alone(1);
  Problems narrow, wide;
  narrow.reserve(static_cast<size_t>(team.size()));
  wide.reserve(static_cast<size_t>(team.size()));
  for (int thread = 0; thread < team.size(); ++thread) {
    narrow.emplace_back(measured, kNarrow, kMostTokens, isa, alone);
    wide.emplace_back(measured, kWide, kMostTokens, isa, alone);
    narrow.back().copy_until(kStreamedBytes / team.size());
  }
  const double prepare_s = time_per_call(team, [&](int thread) { of(wide, thread).prepare(kPreparedTokens); });
  for (const int64_t n_tokens : kTokenCounts) {
    const double narrow_s = time_per_call(team, [&](int thread) { of(narrow, thread).multiply(n_tokens); });
    const double wide_s = time_per_call(team, [&](int thread) { of(wide, thread).multiply(n_tokens); });
    KernelRate rate;
    rate.scheme = scheme_name;
    rate.isa = name(isa);
    rate.n_tokens = n_tokens;
    solve_rate(narrow_s, wide_s, rate);
    rate.seconds_per_input = prepare_s / static_cast<double>(kPreparedTokens * kWide.in);
    // Between the counts that are streamed, and beyond them, the last one's overlap.
    const bool streamed = std::ranges::find(kStreamedTokens, n_tokens) != std::end(kStreamedTokens);
    rate.overlap =
        streamed ? measure_overlap(profile, team, narrow, n_tokens, narrow_s) : profile.kernels.back().overlap;
    profile.kernels.push_back(rate);
  }
}

double kernel_speed(const HardwareProfile& profile, ThreadPool& team, const KernelRate& rate, Isa isa) {
  ThreadPool alone(1);
  Problems problems;
  problems.reserve(static_cast<size_t>(team.size()));
  for (int thread = 0; thread < team.size(); ++thread)
    problems.emplace_back(scheme(rate.scheme), kWide, kSpeedTokens, isa, alone);
  const double seconds = mean(times_per_call(
      team, [&](int thread) { of(problems, thread).multiply(kSpeedTokens); }, 3e-4, 31));
  const auto expected = profile.kernel_rate(rate.scheme, rate.isa, kSpeedTokens);
  return static_cast<double>(kWide.out) * (kWide.in * expected.seconds_per_weight + expected.seconds_per_output) /
         seconds;
}

}  // namespace trimeter
