#include "cost/predict.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "cost/example.h"
#include "cost/step_time.h"

namespace trimeter {
namespace {

const EngineLimits kLimits{.max_model_len = 256, .max_num_seqs = 16, .max_num_batched_tokens = 512, .block_size = 16};

PredictInput input(const ModelSpec& spec, const HardwareProfile& hardware, Workload workload) {
  return {.model = spec,
          .format = format("bf16"),
          .hardware = hardware,
          .limits = kLimits,
          .workload = std::move(workload),
          .device_memory_bytes = 128 * kMi,
          .utilization = 1.0,
          .target = Isa::kScalar,
          .threads = 1};
}

TEST(Predict, RatesAreTokensOverTheTimeOfTheirSteps) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = example_hardware();
  hardware.kernels = {{"bf16", "scalar", 1, 1e-12, 0, 0, 1}, {"bf16", "scalar", 32, 1e-9, 0, 0, 1}};
  hardware.step_overhead_s = 1e-3;
  const RecordPredicted p = predict(input(spec, hardware, {{20, 10}, 3}));
  const StepTimer timer(spec, format("bf16"), hardware, Isa::kScalar, 1);
  const double prefill = timer.time({{{20, 0}, {10, 0}}, 2}).seconds;
  const double first = timer.time({{{1, 20}, {1, 10}}, 2}).seconds,
               second = timer.time({{{1, 21}, {1, 11}}, 2}).seconds;
  EXPECT_DOUBLE_EQ(p.generation_tokens_per_s, 6 / (prefill + first + second));
  EXPECT_DOUBLE_EQ(p.decode_tokens_per_s, 4 / (first + second));
  EXPECT_DOUBLE_EQ(p.prompt_tokens_per_s, 30 / prefill);
  EXPECT_DOUBLE_EQ(p.ttft_s, prefill);
  EXPECT_NEAR(p.itl_s, (first + second) / 2, 1e-12);
  double total = 0;
  for (const auto& [term, seconds] : p.terms) total += seconds;
  EXPECT_NEAR(total, prefill + first + second, 1e-12);
  EXPECT_EQ(p.binds, "arithmetic");
  EXPECT_EQ(p.executed, scheme("bf16").plan(Isa::kScalar).executed);
}

TEST(Predict, BlocksAreWhatTheLedgerLeaves) {
  const ModelSpec spec = example_spec();
  const HardwareProfile hardware = example_hardware();
  const RecordPredicted p = predict(input(spec, hardware, {{4}, 1}));
  // 34 MiB of weights, (2 + 1) norms of 1 Ki floats; a block is 2 * 1 layer * 8 heads * 128 * 2 bytes * 16 tokens.
  EXPECT_EQ(p.memory.weights_bytes, 34 * kMi + 3 * 4096);
  EXPECT_EQ(p.kv_blocks,
            (128 * kMi - p.memory.weights_bytes - p.memory.activation_bytes - p.memory.overhead_bytes) / 65536);
  EXPECT_EQ(p.memory.kv_bytes, p.kv_blocks * 65536);
}

TEST(Predict, WhatBinds) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = example_hardware();
  EXPECT_EQ(predict(input(spec, hardware, {{4}, 8})).binds, "bandwidth");
  hardware.layer_overhead_s = 1;
  EXPECT_EQ(predict(input(spec, hardware, {{4}, 8})).binds, "overhead");
  // Room for two blocks and a half, the longest sequence taking two: two requests of one block and no more.
  PredictInput narrow = input(spec, hardware, {{4, 4, 4}, 8});
  narrow.limits.max_model_len = 32;
  narrow.device_memory_bytes = predict(narrow).memory.weights_bytes + predict(narrow).memory.activation_bytes +
                               predict(narrow).memory.overhead_bytes + 5 * 65536 / 2;
  EXPECT_EQ(predict(narrow).kv_blocks, 2);
  EXPECT_EQ(predict(narrow).binds, "capacity");
}

TEST(Predict, LessOfAnythingIsNeverFaster) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = example_hardware();
  hardware.kernels = {{"bf16", "scalar", 1, 2e-11, 1e-9, 1e-11, 1}, {"bf16", "scalar", 64, 6e-10, 1e-8, 1e-11, 1}};
  hardware.attention_seconds_per_kv_element = {{"BF16", 1e-10}};
  const auto speed = [&](const HardwareProfile& machine) {
    return predict(input(spec, machine, {{50, 60, 70}, 10})).generation_tokens_per_s;
  };
  const double full = speed(hardware);
  for (double factor : {0.9, 0.5, 0.1}) {
    HardwareProfile narrow = hardware, slow = hardware, far = hardware;
    narrow.read_bandwidth[0].bytes_per_s *= factor;
    for (KernelRate& rate : slow.kernels) rate.seconds_per_weight /= factor;
    far.step_overhead_s += 1e-4 / factor;
    EXPECT_LE(speed(narrow), full);
    EXPECT_LE(speed(slow), full);
    EXPECT_LT(speed(far), full);
  }
}

TEST(Predict, RefusesAMemoryTooSmallForTheWeightsTermByTerm) {
  const ModelSpec spec = example_spec();
  const HardwareProfile hardware = example_hardware();
  PredictInput small = input(spec, hardware, {{4}, 8});
  small.device_memory_bytes = 32 * kMi;
  try {
    predict(small);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kNoMemory);
    EXPECT_NE(std::string(error.what())
                  .find("device memory 32.00 MiB x utilization 1.00 = 32.00 MiB is too small for format bf16: "
                        "weights 34.01 MiB"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace trimeter
