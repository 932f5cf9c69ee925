// Directories that other quantizers wrote (tests/golden/make_containers_golden.py), and logits of the decoded weights
// by transformers (tests/golden/containers_reference.py says what is computed there):
//   theirs    as their own reader computes
//   exact     weights as decoded, float32, activations neither rounded nor quantized
//   rounded   likewise, with activations rounded and quantized by the rules of our schemes
//
// E = rms |rounded - exact| is what the roundings of activations do to the logits. Ours rounds by the same rules, so
// that its own error is of that size, whichever way the last bits of its sums make a value fall that lies near the
// middle of two steps:
//   E / kSpread <= rms |ours - exact| <= kSpread * E
// (one falling otherwise moves those of later layers, so that after some layers two errors may have little in common
// but their size). `theirs`, where it quantizes activations, does so by slightly other rules: an error of its own of
// that size, and the two together are off by at most sqrt(2) times as much.
//
// In the tiny models of the committed directories few values fall otherwise: sums of some hundred floats are off by a
// few 2^-23 of their size and steps are 2^-8 of it or coarser, so of the some thousand values that decide about a
// position's logits less than one. Half of the positions at least have none of them and differ from `rounded` by
// float32 sums alone, by some 1e-6 of logits of about 10, where E is 1e-2 and more: by kSame * E at most. Another rule
// for a scale or a rounding, or a part that is rounded and should not be, is off by about E everywhere; a code, scale,
// zero point or group in the wrong place by far more.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "containers/stored_quantization.h"
#include "model/forward_harness.h"
#include "model/golden_file.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

constexpr double kSpread = 1.5, kSame = 1e-3;
constexpr EngineLimits kLimits{
    .max_model_len = 256, .max_num_seqs = 8, .max_num_batched_tokens = 256, .block_size = 16};

const char* other_root() { return std::getenv("TRIMETER_GOLDEN_CONTAINERS"); }

// The committed ones, or those that TRIMETER_GOLDEN_CONTAINERS holds: tools/check_containers.py makes some.
std::vector<std::string> directories() {
  const fs::path root = other_root() ? other_root() : source_dir() / "tests/golden/containers";
  std::vector<std::string> found;
  if (!fs::is_directory(root)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(root))
    if (fs::exists(entry.path() / "golden.safetensors")) found.push_back(entry.path().string());
  std::ranges::sort(found);
  return found;
}

struct GoldenSeq {
  std::vector<int32_t> tokens, positions;
  std::vector<float> theirs, exact, rounded;  // [positions, vocab]
};

std::vector<GoldenSeq> read_golden(const fs::path& directory) {
  const GoldenFile golden(directory / "golden.safetensors");
  std::vector<GoldenSeq> seqs;
  for (int i = 0; golden.has(fmt::format("tokens.{}", i)); ++i) {
    const auto of = [&](const char* what) { return fmt::format("{}.{}", what, i); };
    seqs.push_back({golden.values<int32_t>(of("tokens")), golden.values<int32_t>(of("positions")),
                    golden.values<float>(of("theirs")), golden.values<float>(of("exact")),
                    golden.values<float>(of("rounded"))});
  }
  return seqs;
}

// Of two [positions, vocab]: the rms of each position, of all, and the maximum.
struct Distance {
  Distance(const std::vector<float>& a, const std::vector<float>& b, size_t vocab) {
    std::vector<double> squares(a.size() / vocab);
    for (size_t i = 0; i < a.size(); ++i) {
      const double off = std::abs(static_cast<double>(a[i]) - b[i]);
      max = std::max(max, off);
      squares[i / vocab] += off * off;
    }
    for (const double sum : squares) {
      rms += sum / static_cast<double>(a.size());
      of_position.push_back(std::sqrt(sum / static_cast<double>(vocab)));
    }
    rms = std::sqrt(rms);
  }
  double max = 0, rms = 0;
  std::vector<double> of_position;
};

TEST(GoldenDirectories, AreThere) { EXPECT_GE(directories().size(), other_root() ? 1u : 22u); }

class ContainersGolden : public testing::TestWithParam<std::string> {};

TEST_P(ContainersGolden, LogitsAreThoseOfTheDecodedWeights) {
  const fs::path directory = GetParam();
  const ModelSpec spec = make_model_spec(read_hf_config(directory));
  const std::optional<Format> stored = checkpoint_format(directory, spec);
  ASSERT_TRUE(stored.has_value());
  ThreadPool pool(1);
  const ModelWeights weights = load_weights(directory, spec, *stored, {}, pool);
  std::vector<int32_t> blocks(16);
  std::iota(blocks.begin(), blocks.end(), 0);
  const std::vector<GoldenSeq> seqs = read_golden(directory);
  ASSERT_GE(seqs.size(), 2u);
  const auto vocab = static_cast<size_t>(spec.vocab_size);
  for (const Isa isa : runnable_isas()) {
    SCOPED_TRACE(fmt::format("{} {}", stored->scheme, name(isa)));
    ForwardHarness harness(weights, kLimits, pool, isa, 16);
    GoldenSeq all;
    std::vector<float> ours;
    const auto append = [](std::vector<float>& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    for (const GoldenSeq& golden : seqs) {
      const std::vector<float> logits = harness.score({golden.tokens, blocks}, 256);
      for (const int32_t position : golden.positions)
        append(ours, std::span(logits).subspan(static_cast<size_t>(position) * vocab, vocab));
      append(all.theirs, golden.theirs);
      append(all.exact, golden.exact);
      append(all.rounded, golden.rounded);
    }
    ASSERT_EQ(ours.size(), all.theirs.size());
    const Distance rounding(all.rounded, all.exact, vocab), exact(ours, all.exact, vocab);
    const Distance theirs(ours, all.theirs, vocab);
    std::vector<double> rounded = Distance(ours, all.rounded, vocab).of_position;
    std::ranges::nth_element(rounded, rounded.begin() + std::ssize(rounded) / 2);
    const double median = rounded[rounded.size() / 2];
    fmt::print(
        "{:32} {:24} {:12} from theirs max {:.2e} rms {:.2e}, from exact rms {:.2e}, rounding rms {:.2e}, "
        "from rounded median {:.2e}\n",
        directory.filename().string(), stored->scheme, name(isa), theirs.max, theirs.rms, exact.rms, rounding.rms,
        median);
    EXPECT_LE(exact.rms, kSpread * rounding.rms);
    EXPECT_GE(exact.rms, rounding.rms / kSpread);
    EXPECT_LE(theirs.rms, kSpread * std::sqrt(2) * rounding.rms);
    if (!other_root()) {
      EXPECT_LE(median, kSame * rounding.rms);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Directories, ContainersGolden, testing::ValuesIn(directories()), [](const auto& which) {
  std::string name = fs::path(which.param).filename().string();
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

}  // namespace
}  // namespace trimeter
