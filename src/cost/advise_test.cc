#include "cost/advise.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cost/step_time.h"

namespace trimeter {
namespace {

RecordRun run_of(const std::string& format, double tokens_per_s, int64_t blocks, int64_t weights_bytes, double kld) {
  RecordRun run;
  run.format = format;
  run.predicted.generation_tokens_per_s = tokens_per_s;
  run.predicted.itl_s = 1 / tokens_per_s;
  run.predicted.kv_blocks = blocks;
  run.predicted.binds = "bandwidth";
  run.predicted.memory.weights_bytes = weights_bytes;
  run.predicted.memory.kv_bytes = blocks * 49152;
  run.predicted.terms = {{kWeightsBandwidthTerm, static_cast<double>(weights_bytes) / 1e7}, {kOverheadTerm, 0.1}};
  RecordMeasured m;
  m.generation_tokens_per_s = Sampled::of({tokens_per_s * 0.99, tokens_per_s, tokens_per_s * 1.01});
  m.itl_s = Sampled::of({0.99 / tokens_per_s, 1 / tokens_per_s, 1.01 / tokens_per_s});
  m.kv_blocks = blocks;
  m.block_bytes = 49152;
  m.memory = run.predicted.memory;
  m.quality.emplace();
  m.quality->kld.mean = kld;
  m.quality->top1_agreement = 1 - kld;
  m.quality->outputs.resize(16);
  run.measured = m;
  return run;
}

RecordRun against(RecordRun run, std::vector<double> ratios) {
  run.measured->ratio_to_baseline = Sampled::of(std::move(ratios));
  return run;
}

// fp8 is faster, awq smaller: neither dominates.
Record lab() {
  Record record;
  record.runs = {run_of("bf16", 1000, 894, 11'000'000, 0),
                 against(run_of("fp8", 1310, 980, 6'800'000, 0.004), {1.28, 1.31, 1.34}),
                 against(run_of("awq", 900, 998, 5'886'016, 0.03), {0.88, 0.90, 0.92})};
  return record;
}

TEST(Advise, EachObjectiveHasItsWinner) {
  const Record record = lab();
  EXPECT_EQ(advise(record, Objective::kThroughput).format, "fp8");
  EXPECT_EQ(advise(record, Objective::kThroughput).binding_constraint, "bandwidth");
  EXPECT_EQ(advise(record, Objective::kLatency).format, "fp8");
  EXPECT_EQ(advise(record, Objective::kCapacity).format, "awq");
  EXPECT_EQ(advise(record, Objective::kCapacity).binding_constraint, "capacity");
  EXPECT_EQ(advise(record, Objective::kQuality).format, "bf16");
  EXPECT_EQ(advise(record, Objective::kQuality).binding_constraint, "nothing");
  EXPECT_EQ(advise(record, Objective::kQuality).objective, "quality");
}

TEST(Advise, TheReasonHasArithmeticThatCanBeChecked) {
  // (11,000,000 - 6,800,000) / 49,152 = 85.4; 980 / 894 = 1.096.
  const std::string because = advise(lab(), Objective::kThroughput).because;
  EXPECT_EQ(
      because.substr(0, because.find(".\nawq")),
      "fp8: generation tok/s 1.31x bf16's (paired by round, 95% interval 1.28 to 1.34), KV blocks 1.10x (980 against "
      "894: weights smaller by 4.20 MB, 85 blocks of 49,152 bytes), KLD 0.0040, top-1 agreement 99.6%");
  EXPECT_NE(because.find(
                "awq: generation tok/s 0.90x bf16's (paired by round, 95% interval 0.88 to 0.92), KV blocks 1.12x (998 "
                "against 894"),
            std::string::npos);
}

TEST(Advise, ABusyMachineIsSaidToBe) {
  Record record = lab();
  record.hardware.speed = {Sampled::of({1}), Sampled::of({1}), Sampled::of({0.01})};
  EXPECT_EQ(advise(record, Objective::kThroughput).because.find("Caution"), std::string::npos);
  record.hardware.speed->cpu_wait = Sampled::of({0.4});
  EXPECT_NE(advise(record, Objective::kThroughput).because.find("Caution: the machine was shared"), std::string::npos);
}

TEST(Advise, AGainThatWasNotPredictedBuysOutOfNoBoundThatWas) {
  Record record = lab();
  record.runs[1].predicted.terms = record.runs[0].predicted.terms;
  const RecordVerdict verdict = advise(record, Objective::kThroughput);
  EXPECT_EQ(verdict.format, "fp8");
  EXPECT_EQ(verdict.binding_constraint, "unpredicted");
}

TEST(Advise, BlocksOfAnotherSizeAreSaidToBe) {
  Record record = lab();
  record.runs[2].measured->block_bytes = 24576;
  EXPECT_NE(advise(record, Objective::kThroughput).because.find("(998 against 894 of 24,576 bytes in place of 49,152)"),
            std::string::npos);
}

TEST(Advise, ADifferenceWithinTheSpreadIsNoReasonToLeaveTheBaseline) {
  Record record = lab();
  record.runs[1].measured->ratio_to_baseline = Sampled::of({0.99, 1.05, 1.1});
  const RecordVerdict verdict = advise(record, Objective::kThroughput);
  EXPECT_EQ(verdict.format, "bf16");
  EXPECT_EQ(verdict.binding_constraint, "nothing");
  EXPECT_EQ(verdict.because.find("no usable format is shown to be better than bf16 in generation tok/s"), 0u);
}

TEST(Advise, BetweenTwoThatTieTheOneNearerToTheBaselineWins) {
  Record record = lab();
  record.runs[2] = against(run_of("awq", 1315, 998, 5'886'016, 0.03), {1.29, 1.32, 1.34});
  EXPECT_EQ(advise(record, Objective::kThroughput).format, "fp8");
  std::swap(record.runs[1], record.runs[2]);
  EXPECT_EQ(advise(record, Objective::kThroughput).format, "fp8");
}

TEST(Advise, BrokenFormatsAreNeverRecommended) {
  const auto choose_with = [](auto&& damage) {
    Record record = lab();
    damage(*record.runs[1].measured->quality);
    return advise(record, Objective::kThroughput);
  };
  const auto with_garbage = [&](int n) {
    return choose_with([n](RecordQuality& q) {
      q.n_garbage = n;
      for (int i = 0; i < n; ++i) q.outputs[static_cast<size_t>(i)].garbage = true;
    });
  };
  const RecordVerdict garbage = with_garbage(5);  // by chance with 1/2^5 = 3%
  EXPECT_EQ(garbage.format, "bf16");
  EXPECT_NE(garbage.because.find("not to be used: 5 of its 16 outputs are garbage (0 of bf16's)"), std::string::npos);
  EXPECT_EQ(with_garbage(4).format, "fp8");  // 6%
  EXPECT_EQ(choose_with([](RecordQuality& q) { q.top1_agreement = 0.5; }).format, "bf16");
  EXPECT_EQ(choose_with([](RecordQuality& q) { q.perplexity_ratio = 3; }).format, "bf16");
  // A ratio that its own error does not tell from a whole one is not "broken".
  EXPECT_EQ(choose_with([](RecordQuality& q) { q.perplexity_ratio = 1.6, q.perplexity_ratio_se = 0.3; }).format, "fp8");
}

TEST(Advise, GarbageIsCountedPromptByPromptAgainstTheBaselines) {
  Record record = lab();
  const auto mark = [&](size_t run, int first, int last) {
    for (int i = first; i < last; ++i)
      record.runs[run].measured->quality->outputs[static_cast<size_t>(i)].garbage = true;
  };
  mark(0, 0, 9);   // a baseline that loops by itself
  mark(1, 4, 15);  // 6 prompts into a loop, 4 out of it: P(X >= 6 of 10) = 38%
  EXPECT_EQ(advise(record, Objective::kThroughput).format, "fp8");
  mark(1, 15, 16);
  mark(1, 1, 4);  // now 7 into, 1 out of it: P(X >= 7 of 8) = 3.5%
  EXPECT_EQ(advise(record, Objective::kThroughput).format, "bf16");
}

TEST(Advise, QualityLeavesTheBaselineOnlyForAnEqualAndFasterFormat) {
  Record record = lab();
  record.noise_floor.emplace();
  record.noise_floor->kld.mean = 0.005;
  EXPECT_EQ(advise(record, Objective::kQuality).format, "fp8");
  record.noise_floor->kld.mean = 0.003;
  EXPECT_EQ(advise(record, Objective::kQuality).format, "bf16");
}

TEST(Advise, UsesPredictionsWhereNothingWasMeasuredAndSaysSo) {
  Record record = lab();
  for (RecordRun& run : record.runs) run.measured.reset();
  const RecordVerdict verdict = advise(record, Objective::kThroughput);
  EXPECT_EQ(verdict.format, "fp8");
  EXPECT_NE(verdict.because.find("fp8: generation tok/s 1.31x bf16's (predicted)"), std::string::npos);
  EXPECT_NE(verdict.because.find("quality not measured"), std::string::npos);
}

TEST(Advise, CapacityThatBindsIsWhatASmallerFormatBuysOutOf) {
  Record record = lab();
  record.runs[0].predicted.binds = "capacity";
  EXPECT_EQ(advise(record, Objective::kThroughput).binding_constraint, "capacity");
}

TEST(Advise, ObjectivesHaveNames) {
  EXPECT_EQ(objective_from_name("capacity"), Objective::kCapacity);
  EXPECT_EQ(name(Objective::kLatency), "latency");
  EXPECT_THROW(objective_from_name("speed"), Error);
}

}  // namespace
}  // namespace trimeter
