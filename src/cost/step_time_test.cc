#include "cost/step_time.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "cost/example.h"

namespace trimeter {
namespace {

const StepShape kOneToken{.seqs = {{.n_new = 1, .n_context = 0}}, .n_logit_rows = 1};

StepTime time_of(const HardwareProfile& hardware, const StepShape& step, int threads = 1) {
  const ModelSpec spec = example_spec();
  return StepTimer(spec, format("bf16"), hardware, Isa::kScalar, threads).time(step);
}

double sum(const std::map<std::string, double>& terms) {
  double total = 0;
  for (const auto& [what, seconds] : terms) total += seconds;
  return total;
}

TEST(StepTime, DecodeTakesTheTimeOfReadingTheWeightsOnce) {
  // 34 MiB at 34 GiB/s: 1/1024 s. The KV cache of one token adds 2 * 8 * 128 * 2 bytes = 4 KiB.
  const StepTime time = time_of(example_hardware(), kOneToken);
  EXPECT_DOUBLE_EQ(time.terms.at(kWeightsBandwidthTerm), 32.0 / 34 / 1024);
  EXPECT_DOUBLE_EQ(time.terms.at(kLmHeadBandwidthTerm), 2.0 / 34 / 1024);
  EXPECT_DOUBLE_EQ(time.terms.at(kAttentionTerm), 4.0 / 1024 / 34 / 1024);
  EXPECT_DOUBLE_EQ(time.seconds, (34.0 + 4.0 / 1024) / 34 / 1024);
  EXPECT_DOUBLE_EQ(time.bandwidth_s, time.seconds);
}

TEST(StepTime, FewerBytesPerWeightTakeLess) {
  const ModelSpec spec = example_spec();
  const StepTime fp32 = StepTimer(spec, format("fp32"), example_hardware(), Isa::kScalar, 1).time(kOneToken);
  EXPECT_DOUBLE_EQ(fp32.seconds, 2 * time_of(example_hardware(), kOneToken).seconds);
}

TEST(StepTime, ManyTokensAreBoundByTheKernelsRate) {
  HardwareProfile hardware = example_hardware();
  // 32 tokens at 1 ns per weight: 17 Mi ns, and 1 us per output row of 3 + 1 + 8 + 1 + 1 Ki.
  hardware.kernels = {{"bf16", "scalar", 1, 1e-12, 0, 0, 1}, {"bf16", "scalar", 32, 1e-9, 1e-6, 0, 1}};
  const StepTime time = time_of(hardware, {.seqs = {{32, 0}}, .n_logit_rows = 32});
  EXPECT_DOUBLE_EQ(time.terms.at(kWeightsArithmeticTerm) + time.terms.at(kLmHeadArithmeticTerm),
                   17 * kMi * 1e-9 + 14 * 1024 * 1e-6);
  EXPECT_EQ(time.terms.count(kWeightsBandwidthTerm), 0u);
  EXPECT_GT(time.arithmetic_s, 0.99 * time.seconds);
}

TEST(StepTime, WhatDoesNotOverlapIsAdded) {
  HardwareProfile hardware = example_hardware();
  const double read_s = 34.0 / 34 / 1024, multiply_s = 17 * kMi * 1e-9;
  const auto linears = [&](double overlap) {
    hardware.kernels = {{"bf16", "scalar", 1, 1e-9, 0, 0, overlap}};
    const StepTime time = time_of(hardware, kOneToken);
    return time.terms.at(kWeightsArithmeticTerm) + time.terms.at(kLmHeadArithmeticTerm);
  };
  EXPECT_DOUBLE_EQ(linears(1), multiply_s);
  EXPECT_DOUBLE_EQ(linears(0.25), multiply_s + 0.75 * read_s);
  EXPECT_DOUBLE_EQ(linears(0), multiply_s + read_s);
}

TEST(StepTime, WithoutMeasuredKernelsThePeakOfTheExecutedArithmeticBounds) {
  HardwareProfile hardware = example_hardware();
  hardware.rates = {{scheme("bf16").plan(Isa::kScalar).executed, 34e6}};
  // 2 * 17 Mi operations at 34e6 per second.
  const StepTime time = time_of(hardware, kOneToken);
  EXPECT_DOUBLE_EQ(time.terms.at(kWeightsArithmeticTerm) + time.terms.at(kLmHeadArithmeticTerm), kMi / 1e6);
  hardware.rates = {{"int8", 1e12}};
  EXPECT_THROW(time_of(hardware, kOneToken), Error);
}

TEST(StepTime, InputsArePreparedOncePerToken) {
  HardwareProfile hardware = example_hardware();
  hardware.kernels = {{"bf16", "scalar", 1, 1e-30, 0, 1e-6, 1}};
  // Inputs of qkv, o, gate_up: 1 Ki each, of down 4 Ki, of lm_head 1 Ki.
  EXPECT_DOUBLE_EQ(time_of(hardware, kOneToken).terms.at(kElementwiseTerm), 8 * 1024 * 1e-6);
}

TEST(StepTime, WhatDoesNotFitWithItsKvCacheComesFromMemory) {
  // 34 GiB/s up to 35 MiB, a tenth of it from 64 MiB on: weights alone fit. 8192 tokens of KV cache have 32 MiB.
  HardwareProfile hardware = example_hardware();
  hardware.read_bandwidth = {{35 * kMi, 1, 34.0 * 1024 * kMi}, {64 * kMi, 1, 3.4 * 1024 * kMi}};
  const StepShape many{.seqs = {{.n_new = 1, .n_context = 8191}}, .n_logit_rows = 1};
  constexpr double kRounding = 1e-15;  // of exp(log(bandwidth)): some 2^-50 of a millisecond
  EXPECT_NEAR(time_of(hardware, kOneToken).terms.at(kLmHeadBandwidthTerm), 2.0 / 34 / 1024, kRounding);
  EXPECT_NEAR(time_of(hardware, many).terms.at(kLmHeadBandwidthTerm), 2.0 / 3.4 / 1024, kRounding);
}

TEST(StepTime, AttentionCountsVisibleTokens) {
  HardwareProfile hardware = example_hardware();
  hardware.attention_seconds_per_call = 1e-3;
  hardware.attention_seconds_per_kv_element = {{"BF16", 2e-6}};
  hardware.attention_seconds_per_query_element = 3e-6;
  // Tokens 4, 5 and 6 of a sequence see 4 + 5 + 6 tokens, in 8 heads of 128; one query head a KV head.
  const StepTime time = time_of(hardware, {.seqs = {{.n_new = 3, .n_context = 3}}, .n_logit_rows = 1});
  EXPECT_DOUBLE_EQ(time.terms.at(kAttentionTerm), 3 * 8 * 1e-3 + 15 * 8 * 128 * 5e-6);
}

TEST(StepTime, ElementwiseGoesByTheLedgersBytes) {
  HardwareProfile hardware = example_hardware();
  hardware.elementwise_seconds_per_byte["silu_mul"] = 1e-9;
  EXPECT_DOUBLE_EQ(time_of(hardware, kOneToken).terms.at(kElementwiseTerm), 4096 * 12 * 1e-9);
  // Without a rate of its own: at the read bandwidth.
  hardware.elementwise_seconds_per_byte.erase("silu_mul");
  EXPECT_DOUBLE_EQ(time_of(hardware, kOneToken).terms.at(kElementwiseTerm), 4096 * 12 / (34.0 * 1024 * kMi));
}

TEST(StepTime, ThreadsShareRowsInPanelsAndTokensWhole) {
  HardwareProfile hardware = example_hardware();
  hardware.kernels = {{"bf16", "scalar", 1, 1e-9, 0, 1e-6, 1}};
  const StepTime one = time_of(hardware, kOneToken), two = time_of(hardware, kOneToken, 2);
  EXPECT_DOUBLE_EQ(two.terms.at(kWeightsArithmeticTerm), one.terms.at(kWeightsArithmeticTerm) / 2);
  // One token can't be shared.
  EXPECT_DOUBLE_EQ(two.terms.at(kElementwiseTerm), one.terms.at(kElementwiseTerm));
  // lm_head has 64 panels: of three threads the busiest has 22.
  EXPECT_DOUBLE_EQ(time_of(hardware, kOneToken, 3).terms.at(kLmHeadArithmeticTerm), kMi * 1e-9 * 22 / 64);
}

TEST(StepTime, FixedCostsPerStepLayerAndBarrier) {
  HardwareProfile hardware = example_hardware();
  hardware.step_overhead_s = 1;
  hardware.layer_overhead_s = 2;
  hardware.barrier_s = 0.25;
  EXPECT_DOUBLE_EQ(time_of(hardware, kOneToken).terms.at(kOverheadTerm), 3);
  EXPECT_DOUBLE_EQ(time_of(hardware, kOneToken, 2).terms.at(kOverheadTerm), 3 + kBarriersPerLayer * 0.25);
  hardware.sampling_seconds_per_logit = 1;
  EXPECT_DOUBLE_EQ(time_of(hardware, kOneToken).terms.at(kElementwiseTerm), 1024);
}

TEST(StepTime, AStepWithPromptsTakesACardAtLeastItsLaunches) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = example_hardware();
  hardware.kind = "cuda";
  const auto seconds = [&](const std::vector<StepShape::Seq>& seqs) {
    return StepTimer(spec, format("bf16"), hardware, Target::gpu(90), 1).time({seqs, 1}).seconds;
  };
  const double chunk_s = seconds({{.n_new = 8, .n_context = 0}}), decode_s = seconds({{.n_new = 1, .n_context = 8}});
  hardware.launched_layer_s = chunk_s / 2;  // hides behind the weights
  EXPECT_DOUBLE_EQ(seconds({{.n_new = 8, .n_context = 0}}), chunk_s);
  hardware.launched_step_s = 3;
  hardware.launched_layer_s = 2;
  EXPECT_DOUBLE_EQ(seconds({{.n_new = 8, .n_context = 0}, {.n_new = 1, .n_context = 8}}), 5);
  EXPECT_DOUBLE_EQ(seconds({{.n_new = 1, .n_context = 8}}), decode_s);  // a graph
  hardware.launched_layers = {{"bf16", 4}, {"fp8_e4m3", 9}};
  EXPECT_DOUBLE_EQ(seconds({{.n_new = 8, .n_context = 0}}), 7);
}

TEST(StepTime, ProductsOfACardWaitForItsBusiestMultiprocessor) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = example_hardware();
  hardware.kind = "cuda";
  const auto of_gate_up = [&] {
    const StepTime time = StepTimer(spec, format("bf16"), hardware, Target::gpu(90), 1).time({{{1, 8}}, 1});
    return std::ranges::find(time.ops, "gate_up_proj", &OpTime::name)->seconds;
  };
  const double even_s = of_gate_up();  // 512 blocks of 16 rows
  hardware.n_multiprocessors = 128;
  EXPECT_DOUBLE_EQ(of_gate_up(), even_s);
  hardware.n_multiprocessors = 100;  // one has six, all could have had 600
  EXPECT_NEAR(of_gate_up(), even_s * 600 / 512, 1e-12);
}

TEST(StepTime, ADecodingStepOfACardIsPaddedToTheNextGraph) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = example_hardware();
  hardware.kind = "cuda";
  hardware.sampling_seconds_per_logit = 1;
  hardware.attention_seconds_per_kv_element = {{"BF16", 1}};
  const auto time = [&](size_t n_seqs, int64_t max_num_seqs = 1024) {
    const std::vector<StepShape::Seq> seqs(n_seqs, {.n_new = 1, .n_context = 9});
    return StepTimer(spec, format("bf16"), hardware, Target::gpu(90), 1, max_num_seqs)
        .time({seqs, static_cast<int64_t>(n_seqs)});
  };
  EXPECT_DOUBLE_EQ(time(17).terms.at(kElementwiseTerm), 24 * 1024);
  EXPECT_DOUBLE_EQ(time(17).terms.at(kAttentionTerm), 17 * 10 * 8 * 128);  // the padding's rows see nothing
  EXPECT_DOUBLE_EQ(time(17, 20).terms.at(kElementwiseTerm), 20 * 1024);    // the engine's last graph
  EXPECT_DOUBLE_EQ(time(513).terms.at(kElementwiseTerm), 513 * 1024);      // no graph
}

TEST(StepTime, WithoutACublasLtKernelFp8ReadsTheWeightForEvery32Tokens) {
  ModelSpec spec = example_spec();
  HardwareProfile hardware = example_hardware();
  hardware.kind = "cuda";
  hardware.kernels = {{"fp8_e4m3", "sm_90", 32, 1e-9, 0, 0, 1}, {"fp8_e4m3", "sm_90", 64, 1e-9, 0, 0, 1}};
  hardware.rates["fp8"] = 1e30;
  const auto weights_s = [&] {
    const StepTimer timer(spec, format("fp8"), hardware, Target::gpu(90), 1);
    return timer.time({.seqs = {{64, 0}}, .n_logit_rows = 1}).terms.at(kWeightsArithmeticTerm);
  };
  EXPECT_DOUBLE_EQ(weights_s(), 16 * kMi * 1e-9);
  spec.intermediate_size += 4;  // 8200 rows of gate_up, no multiple of 16; down's are as before, its width is not
  EXPECT_DOUBLE_EQ(weights_s(), (4 * kMi + 2 * (8 * kMi + 8 * 1024) + 2 * (4 * kMi + 4 * 1024)) * 1e-9);
}

TEST(StepTime, TermsBoundsAndOperationsSumToTheStep) {
  HardwareProfile hardware = example_hardware();
  hardware.kernels = {{"bf16", "scalar", 1, 3e-11, 1e-9, 1e-10, 1}, {"bf16", "scalar", 64, 5e-10, 1e-8, 1e-10, 1}};
  hardware.attention_seconds_per_kv_element = {{"BF16", 1e-10}};
  hardware.elementwise_seconds_per_byte["rope"] = 1e-10;
  hardware.layer_overhead_s = 1e-6;
  const StepTime time = time_of(hardware, {.seqs = {{1, 100}, {1, 7}, {30, 64}}, .n_logit_rows = 3});
  double ops = time.overhead_s;
  for (const OpTime& op : time.ops) ops += op.seconds;
  EXPECT_NEAR(sum(time.terms), time.seconds, 1e-12);
  EXPECT_NEAR(time.bandwidth_s + time.arithmetic_s + time.overhead_s, time.seconds, 1e-12);
  EXPECT_NEAR(ops, time.seconds, 1e-12);
}

}  // namespace
}  // namespace trimeter
