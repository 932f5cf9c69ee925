#include "lab/device_memory.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/cpu.h"
#include "spec/ledger.h"

namespace trimeter {
namespace {

std::filesystem::path demo() {
  const char* root = std::getenv("TRIMETER_SOURCE_DIR");
  return std::filesystem::path(root ? root : ".") / "models" / "demo";
}
ModelSpec demo_spec() { return make_model_spec(read_hf_config(demo())); }
EngineOptions demo_options() {
  EngineOptions options;
  options.model = demo();
  return options;
}

int64_t blocks_of(const EngineOptions& options, const ModelSpec& model) {
  const EngineLimits limits = engine_limits(options, model);
  const Format format = engine_format(options, model);
  const MemoryBreakdown memory =
      memory_ledger(model, format, limits, active_isa(), options.device_memory_bytes, options.utilization);
  return memory.kv_bytes / kv_layout(model, format, limits.block_size).block_bytes();
}

TEST(DeviceMemory, HoldsJustTheSequences) {
  const ModelSpec model = demo_spec();
  for (const char* format : {"bf16", "fp32", "awq"})
    for (const double utilization : {0.9, 0.37, 1.0}) {
      EngineOptions options = demo_options();
      options.format = format;
      options.utilization = utilization;
      options.max_model_len = 1000;
      fit_device_memory(options, model, 3);
      EXPECT_EQ(blocks_of(options, model), 3 * 63) << format << " " << utilization;  // 63 blocks of 16 tokens
    }
}

TEST(DeviceMemory, AtMostAQuarterOfTheMachine) {
  EngineOptions options = demo_options();
  fit_device_memory(options, demo_spec(), 1 << 30);
  EXPECT_EQ(options.device_memory_bytes, cpu_info().memory_bytes / 4);
}

TEST(DeviceMemory, WhatIsGivenStays) {
  EngineOptions options = demo_options();
  options.device_memory_bytes = 12345;
  fit_device_memory(options, demo_spec(), 1);
  EXPECT_EQ(options.device_memory_bytes, 12345);
}

}  // namespace
}  // namespace trimeter
