// Our logits against transformers' (tests/golden/make_logits_golden.py).
//
// fp32. The golden file says how far transformers' own float32 is from the same formulas in float64: the rounding
// errors of one order of summation. Ours is another order of the same operations in the same precision, so its distance
// from exact is of the same size; the largest over some thousand logits of two such errors differ by less than kOrders
// = 4, and
//   |ours - theirs| <= |ours - exact| + |theirs - exact| <= (kOrders + 1) * their error.
// A wrong formula is off by far more: rope at the wrong angle, a missed bias or an eps of 1e-6 for 1e-5 changes logits
// by 1e-3 and up.
//
// bf16. transformers rounds every intermediate to bf16, the residual stream and the logits included; ours rounds the
// linears' inputs and the KV cache and keeps the rest in float. So ours is off by less than theirs, in the root mean
// square, and by more than a tenth of it: a smaller error would mean that the inputs are not rounded at all.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/forward_harness.h"
#include "model/golden_file.h"

namespace trimeter {
namespace {

constexpr double kOrders = 4;
constexpr EngineLimits kLimits{
    .max_model_len = 256, .max_num_seqs = 8, .max_num_batched_tokens = 256, .block_size = 16};

struct GoldenSeq {
  std::vector<int32_t> tokens, positions;
  std::vector<float> logits;  // [positions, vocab]
  double max_fp32_error, rms_fp32_error, max_bf16_error, rms_bf16_error;
};

std::vector<GoldenSeq> read_golden(const std::string& model) {
  const GoldenFile golden(source_dir() / "tests/golden/logits" / model / "golden.safetensors");
  std::vector<GoldenSeq> seqs;
  for (int i = 0; golden.has(fmt::format("tokens.{}", i)); ++i) {
    const auto of = [&](const char* what) { return fmt::format("{}.{}", what, i); };
    const std::vector<float> errors = golden.values<float>(of("errors"));
    seqs.push_back({golden.values<int32_t>(of("tokens")), golden.values<int32_t>(of("positions")),
                    golden.values<float>(of("logits")), errors.at(0), errors.at(1), errors.at(2), errors.at(3)});
  }
  return seqs;
}

struct Distance {
  double max = 0, rms = 0;
};

Distance distance(const std::vector<float>& ours, const GoldenSeq& golden, size_t vocab) {
  Distance d;
  double squares = 0;
  for (size_t i = 0; i < golden.logits.size(); ++i) {
    const size_t at = static_cast<size_t>(golden.positions[i / vocab]) * vocab + i % vocab;
    const double off = std::abs(static_cast<double>(ours[at]) - golden.logits[i]);
    d.max = std::max(d.max, off);
    squares += off * off;
  }
  d.rms = std::sqrt(squares / static_cast<double>(golden.logits.size()));
  return d;
}

class LogitsGolden : public testing::TestWithParam<const char*> {
 protected:
  template <class Check>
  void each_sequence(const char* format_name, Check check) {
    const std::string model = GetParam();
    const auto directory = source_dir() / (model == "demo" ? "models/demo" : "tests/golden/logits/" + model);
    ThreadPool pool(2);
    const ModelWeights weights =
        load_weights(directory, make_model_spec(read_hf_config(directory)), format(format_name), {}, pool);
    std::vector<int32_t> blocks(16);
    std::iota(blocks.begin(), blocks.end(), 0);
    const std::vector<GoldenSeq> seqs = read_golden(model);
    ASSERT_EQ(seqs.size(), 3u);
    // The tiny ones on every ISA; the demo model, larger by far, on the one that TRIMETER_ISA or the CPU picks.
    for (const Isa isa : model == "demo" ? std::vector<Isa>{active_isa()} : runnable_isas()) {
      ForwardHarness harness(weights, kLimits, pool, isa, 16);
      for (const GoldenSeq& golden : seqs) {
        SCOPED_TRACE(fmt::format("{} {} {}, {} tokens", model, format_name, name(isa), golden.tokens.size()));
        const std::vector<float> ours = harness.score({golden.tokens, blocks}, 256);
        const Distance off = distance(ours, golden, static_cast<size_t>(weights.spec.vocab_size));
        fmt::print(
            "{} {} {:3} tokens {}: max {:.2e} rms {:.2e}; transformers: fp32 max {:.2e} rms {:.2e}, bf16 max "
            "{:.2e} rms {:.2e}\n",
            model, format_name, golden.tokens.size(), name(isa), off.max, off.rms, golden.max_fp32_error,
            golden.rms_fp32_error, golden.max_bf16_error, golden.rms_bf16_error);
        check(off, golden);
      }
    }
  }
};

TEST_P(LogitsGolden, Fp32WithinTheRoundingOfAnotherOrder) {
  each_sequence("fp32", [](const Distance& off, const GoldenSeq& golden) {
    EXPECT_LE(off.max, (kOrders + 1) * golden.max_fp32_error);
    EXPECT_LE(off.rms, (kOrders + 1) * golden.rms_fp32_error);
  });
}

TEST_P(LogitsGolden, Bf16RoundsLessThanTransformersAndNotNothing) {
  each_sequence("bf16", [](const Distance& off, const GoldenSeq& golden) {
    EXPECT_LE(off.max, golden.max_bf16_error);
    EXPECT_LE(off.max, golden.max_bf16_error);
    EXPECT_LE(off.rms, golden.rms_bf16_error);
    EXPECT_GE(off.rms, golden.rms_bf16_error / 10);
  });
}

INSTANTIATE_TEST_SUITE_P(Models, LogitsGolden,
                         testing::Values("demo", "qwen2_untied", "llama2_fp16", "llama3_sharded", "llama_linear_rope",
                                         "llama_biases_fp32"),
                         [](const auto& which) { return std::string(which.param); });

}  // namespace
}  // namespace trimeter
