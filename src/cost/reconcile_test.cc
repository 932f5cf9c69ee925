#include "cost/reconcile.h"

#include <gtest/gtest.h>

#include "cost/step_time.h"

namespace trimeter {
namespace {

// A run whose prediction is right in every meter: 1000 tok/s, 100 blocks of 1000 bytes.
RecordRun exact_run(const std::string& format) {
  RecordRun run;
  run.format = format;
  run.kernel = {"bf16", "bf16", {}};
  RecordPredicted& p = run.predicted;
  p.generation_tokens_per_s = p.decode_tokens_per_s = p.prompt_tokens_per_s = 1000;
  p.ttft_s = p.itl_s = 0.01;
  p.kv_blocks = 100;
  p.binds = "bandwidth";
  p.executed = "bf16";
  p.memory = {.weights_bytes = 5000, .activation_bytes = 700, .overhead_bytes = 300, .kv_bytes = 100000};
  p.terms = {{kWeightsBandwidthTerm, 0.9}, {kOverheadTerm, 0.1}};
  RecordMeasured m;
  m.generation_tokens_per_s = m.decode_tokens_per_s = m.prompt_tokens_per_s = Sampled::of({990, 1000, 1010});
  m.ttft_s = m.itl_s = Sampled::of({0.0099, 0.01, 0.0101});
  m.kv_blocks = 100;
  m.block_bytes = 1000;
  m.memory = p.memory;
  run.measured = m;
  return run;
}

const RecordReconciliation& row(const std::vector<RecordReconciliation>& rows, const std::string& format,
                                const std::string& meter) {
  for (const RecordReconciliation& row : rows)
    if (row.format == format && row.meter == meter) return row;
  throw std::runtime_error("no row " + format + " " + meter);
}

Record record_of(std::vector<RecordRun> runs) {
  Record record;
  record.runs = std::move(runs);
  return record;
}

TEST(Reconcile, HitsHaveARatioABandAndNoExplanation) {
  const auto rows = reconcile(record_of({exact_run("bf16")}));
  EXPECT_EQ(rows.size(), 6u);
  const RecordReconciliation& speed = row(rows, "bf16", "generation_tokens_per_s");
  EXPECT_DOUBLE_EQ(speed.ratio, 1);
  EXPECT_DOUBLE_EQ(speed.band, 0.25);
  EXPECT_TRUE(speed.within_band);
  EXPECT_EQ(speed.explanation, "");
  EXPECT_DOUBLE_EQ(row(rows, "bf16", "kv_blocks").band, 0.005);
}

TEST(Reconcile, RunsAndMetersWithoutAMeasurementHaveNoRow) {
  RecordRun planned = exact_run("fp8"), half = exact_run("awq");
  planned.measured.reset();
  half.measured->decode_tokens_per_s = {};
  const Record record = record_of({exact_run("bf16"), planned, half});
  EXPECT_EQ(reconcile(record).size(), 6u + 5u);
  EXPECT_EQ(compare_orderings(record).count("decode_tokens_per_s"), 0u);
  EXPECT_EQ(compare_orderings(record).at("kv_blocks").measured, (std::vector<std::string>{"bf16", "awq"}));
}

TEST(Reconcile, BandsAreInclusiveToThePercent) {
  RecordRun run = exact_run("bf16");
  run.measured->generation_tokens_per_s = Sampled::of({751});
  EXPECT_TRUE(row(reconcile(record_of({run})), "bf16", "generation_tokens_per_s").within_band);
  run.measured->generation_tokens_per_s = Sampled::of({749});
  EXPECT_FALSE(row(reconcile(record_of({run})), "bf16", "generation_tokens_per_s").within_band);
  run.measured->generation_tokens_per_s = Sampled::of({1251});
  EXPECT_FALSE(row(reconcile(record_of({run})), "bf16", "generation_tokens_per_s").within_band);
}

TEST(Reconcile, MissedBlocksAreExplainedByTheBytesThatTheyTook) {
  RecordRun run = exact_run("bf16");
  run.measured->kv_blocks = 60;
  run.measured->memory.activation_bytes += 41000;
  run.measured->memory.overhead_bytes -= 1000;
  EXPECT_EQ(
      row(reconcile(record_of({run})), "bf16", "kv_blocks").explanation,
      "the pool is smaller by 0.04 MB: activation 0.04 MB more than predicted, overhead 0.00 MB less than predicted");
  // Bytes that do not account for the missing blocks explain nothing.
  run.measured->memory.activation_bytes -= 20000;
  EXPECT_EQ(row(reconcile(record_of({run})), "bf16", "kv_blocks").explanation,
            "unexplained: the bytes of weights, activations and overhead do not account for it");
}

std::string speed_explanation(const Record& record) {
  return row(reconcile(record), record.runs.front().format, "generation_tokens_per_s").explanation;
}

TEST(Reconcile, SpeedMissesAreExplainedByWhatIsTrueAndOtherwiseStand) {
  RecordRun run = exact_run("fp8");
  run.measured->generation_tokens_per_s = Sampled::of({590, 600, 610});
  EXPECT_EQ(speed_explanation(record_of({run})), "unexplained");

  RecordRun noisy = run;
  noisy.measured->generation_tokens_per_s = Sampled::of({300, 600, 1200});
  EXPECT_EQ(speed_explanation(record_of({noisy})),
            "the measured spread is larger than the gap: 95% interval 300 to 1200");

  RecordRun fallback = run;
  fallback.predicted.executed = "fp8";
  fallback.kernel = {"fp8", "bf16", {}};
  EXPECT_EQ(speed_explanation(record_of({fallback})),
            "executed arithmetic is not the predicted one: fp8 predicted, bf16 executed (fp8 requested)");

  RecordRun overhead = run;
  overhead.predicted.terms = {{kWeightsBandwidthTerm, 0.4}, {kOverheadTerm, 0.6}};
  EXPECT_EQ(speed_explanation(record_of({overhead})),
            "overhead-bound: 60% of the predicted time is barriers and fixed cost");
  overhead.measured->generation_tokens_per_s = Sampled::of({1990, 2000, 2010});  // in less than the 60% alone
  EXPECT_EQ(speed_explanation(record_of({overhead})).find("the profile's barriers and fixed cost alone take longer"),
            0u);

  RecordRun capacity = run;
  capacity.predicted.binds = "capacity";
  EXPECT_EQ(speed_explanation(record_of({capacity})), "unexplained");
  capacity.measured->kv_blocks = 50;
  EXPECT_EQ(speed_explanation(record_of({capacity})),
            "capacity binds, and the pool has 50 blocks where 100 were predicted");
}

TEST(Reconcile, AMachineThatWasSlowerThanItsProfileExplainsAMissOfThatSize) {
  RecordRun run = exact_run("bf16");
  run.predicted.binds = "arithmetic";
  run.measured->generation_tokens_per_s = Sampled::of({590, 600, 610});
  Record record = record_of({run});
  record.hardware.speed = {Sampled::of({0.5, 0.55, 0.6}), Sampled::of({0.9, 1, 1}), {}};
  EXPECT_EQ(speed_explanation(record),
            "the machine itself ran at 0.55 of its profile's arithmetic (between the rounds, 95% interval 0.50 to "
            "0.60), which leaves 1.09 of the prediction");
  record.runs[0].predicted.binds = "bandwidth";  // which the machine had
  EXPECT_EQ(speed_explanation(record), "unexplained");
  record.runs[0].predicted.binds = "arithmetic";
  record.hardware.speed->arithmetic = Sampled::of({0.9, 0.9, 0.9});  // not the size of the miss
  EXPECT_EQ(speed_explanation(record), "unexplained");
}

// Two threads that wait 40% leave 20% to 60% of the machine.
TEST(Reconcile, OtherProgramsExplainAMissOfThatSizeAndNoOther) {
  Record record = record_of({exact_run("bf16")});
  record.hardware.threads = 2;
  record.hardware.speed = {Sampled::of({1}), Sampled::of({1}), Sampled::of({0.3, 0.4, 0.5})};
  const auto explanation_at = [&](double tokens_per_s) {
    record.runs[0].measured->generation_tokens_per_s = Sampled::of({tokens_per_s - 1, tokens_per_s, tokens_per_s + 1});
    return speed_explanation(record);
  };
  EXPECT_EQ(explanation_at(400),
            "other programs had the CPUs: threads that were ready to run waited 40% of the rounds' time (95% interval "
            "30% to 50%), which left a team that meets at barriers 0.20 to 0.60 of the machine");
  EXPECT_EQ(explanation_at(140), "unexplained");
  EXPECT_EQ(explanation_at(2000), "unexplained");
  record.hardware.speed->cpu_wait = Sampled::of({0.01, 0.02, 0.02});
  EXPECT_EQ(explanation_at(400), "unexplained");
}

TEST(Reconcile, WhatABusyMachineDoesNotExplainIsTheFormatsOwn) {
  RecordRun a = exact_run("bf16"), b = exact_run("fp8");
  a.measured->generation_tokens_per_s = b.measured->generation_tokens_per_s = Sampled::of({390, 400, 410});
  b.measured->ratio_to_baseline = Sampled::of({0.4, 0.5, 0.6});  // of 1 predicted
  Record record = record_of({b});
  record.runs.insert(record.runs.begin(), a);
  record.hardware.threads = 2;
  record.hardware.speed = {Sampled::of({1}), Sampled::of({1}), Sampled::of({0.3, 0.4, 0.5})};
  for (const RecordReconciliation& row : reconcile(record))
    if (row.meter == "generation_tokens_per_s") {
      EXPECT_EQ(
          row.explanation.ends_with("the ratio to bf16, in the same rounds, was predicted 1.000 and measured 0.500 "
                                    "(0.400 to 0.600): unexplained"),
          row.format == "fp8")
          << row.explanation;
      EXPECT_TRUE(row.explanation.starts_with("other programs"));
    }
}

TEST(Reconcile, AMissThatAllFormatsShareIsSaidToBeShared) {
  RecordRun a = exact_run("bf16"), b = exact_run("fp8");
  a.measured->generation_tokens_per_s = Sampled::of({590, 600, 610});
  b.measured->generation_tokens_per_s = Sampled::of({600, 610, 620});
  EXPECT_EQ(
      speed_explanation(record_of({a, b})),
      "unexplained; all formats missed alike (0.60 to 0.61 of predicted): the machine or the engine, not the format");
  b.measured->generation_tokens_per_s = Sampled::of({700, 710, 720});
  EXPECT_EQ(speed_explanation(record_of({a, b})), "unexplained");
}

TEST(Ordering, HoldsFailsAndTies) {
  RecordRun a = exact_run("bf16"), b = exact_run("fp8"), c = exact_run("awq");
  b.predicted.generation_tokens_per_s = 1200;
  c.predicted.generation_tokens_per_s = 1100;
  b.measured->generation_tokens_per_s = Sampled::of({1290, 1300, 1310});
  c.measured->generation_tokens_per_s = Sampled::of({1090, 1100, 1110});
  using Names = std::vector<std::string>;
  const auto speed = [](const Record& record) { return compare_orderings(record).at("generation_tokens_per_s"); };
  RecordOrdering ordering = speed(record_of({a, b, c}));
  EXPECT_EQ(ordering.predicted, (Names{"fp8", "awq", "bf16"}));
  EXPECT_EQ(ordering.measured, (Names{"fp8", "awq", "bf16"}));
  EXPECT_TRUE(ordering.holds);
  EXPECT_EQ(ordering.explanation, "");

  c.measured->generation_tokens_per_s = Sampled::of({890, 900, 910});
  ordering = speed(record_of({a, b, c}));
  EXPECT_FALSE(ordering.holds);
  EXPECT_EQ(ordering.measured, (Names{"fp8", "bf16", "awq"}));
  EXPECT_EQ(ordering.explanation, "bf16 / awq was predicted 0.909, measured 1.111");

  c.predicted.generation_tokens_per_s = 1020;
  ordering = speed(record_of({a, b, c}));
  EXPECT_TRUE(ordering.holds);
  EXPECT_EQ(ordering.explanation, "predicted too close to claim an order: bf16 / awq 0.980, measured 1.111");

  c.predicted.generation_tokens_per_s = 1100;
  c.measured->generation_tokens_per_s = Sampled::of({890, 900, 995});
  ordering = speed(record_of({a, b, c}));
  EXPECT_TRUE(ordering.holds);
  EXPECT_EQ(ordering.explanation, "tied within the measured 95% intervals: bf16 and awq");
}

TEST(Ordering, LatencyIsBestWhenSmallest) {
  RecordRun a = exact_run("bf16"), b = exact_run("fp8");
  b.predicted.itl_s = 0.008;
  b.measured->itl_s = Sampled::of({0.0079, 0.008, 0.0081});
  const RecordOrdering ordering = compare_orderings(record_of({a, b})).at("itl_s");
  EXPECT_EQ(ordering.predicted, (std::vector<std::string>{"fp8", "bf16"}));
  EXPECT_EQ(ordering.measured, (std::vector<std::string>{"fp8", "bf16"}));
  EXPECT_TRUE(ordering.holds);
}

TEST(Ordering, EqualBlocksAreATieAndAnUnpredictedTieFails) {
  RecordRun a = exact_run("bf16"), b = exact_run("fp16");
  EXPECT_TRUE(compare_orderings(record_of({a, b})).at("kv_blocks").holds);
  b.measured->kv_blocks = 101;
  a.predicted.kv_blocks = 102;
  EXPECT_FALSE(compare_orderings(record_of({a, b})).at("kv_blocks").holds);
}

}  // namespace
}  // namespace trimeter
