#include "schemes/gpu_plan.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/gpu_scratch.h"
#include "schemes/stacked_scheme.h"

namespace trimeter {
namespace {

KernelPlan plan(std::string_view scheme_name, int compute_capability) {
  return plan_on(scheme(scheme_name), Target::gpu(compute_capability));
}

TEST(GpuPlan, ExecutesWhatTheCardHasUnitsFor) {
  const KernelPlan native = plan("fp8_e4m3", 90);
  EXPECT_EQ(native.kernel, "fp8_e4m3.sm_90");
  EXPECT_EQ(native.executed, "fp8");
  EXPECT_EQ(native.reason, "");
  EXPECT_EQ(plan("fp8_e4m3_block128", 89).executed, "fp8");
  const KernelPlan weight_only = plan("fp8_e4m3", 80);
  EXPECT_EQ(weight_only.requested, "fp8");
  EXPECT_EQ(weight_only.executed, "bf16");
  EXPECT_EQ(weight_only.reason, "no fp8 units in compute capability 8.0: weight-only");
  for (const char* same : {"bf16", "int4_g128_zp", "int8w"}) EXPECT_EQ(plan(same, 80).executed, "bf16") << same;
  EXPECT_EQ(plan("int8", 86).executed, "int8");
  EXPECT_EQ(plan("fp16", 90).executed, "fp16");
  EXPECT_EQ(plan("fp32", 90).executed, "fp32");
}

TEST(GpuPlan, SaysWhereFp8HasTheKernelOfFewTokensAlone) {
  const auto of_shape = [](std::string_view name, MatShape shape, int cc) {
    return plan_on(scheme(name), shape, Target::gpu(cc)).reason;
  };
  EXPECT_EQ(of_shape("fp8_e4m3", {4096, 1024}, 90), "");
  EXPECT_EQ(of_shape("fp8_e4m3", {4100, 1024}, 90),
            "the weight is read for every 32 tokens: cuBLASLt has no fp8 kernel of 4100 x 1024 in compute capability "
            "9.0");
  EXPECT_EQ(
      of_shape("fp8_e4m3_block128", {4096, 1024}, 90),
      "the weight is read for every 32 tokens where they are no multiple of 4: cuBLASLt has no fp8 kernel for such");
  EXPECT_NE(of_shape("fp8_e4m3_block128", {4096, 1024}, 89), "");
  EXPECT_EQ(of_shape("fp8_e4m3", {4100, 1024}, 80), "no fp8 units in compute capability 8.0: weight-only");
  EXPECT_EQ(of_shape("int8", {4100, 1024}, 90), "");
  EXPECT_EQ(gpu_tokens_at_once(scheme("fp8_e4m3").info(), {4100, 1024}, 90, 20), 20);
  EXPECT_EQ(gpu_tokens_at_once(scheme("fp8_e4m3").info(), {4100, 1024}, 90, 100), 32);
  EXPECT_EQ(gpu_tokens_at_once(scheme("fp8_e4m3_block128").info(), {4096, 1024}, 90, 100), 100);
  EXPECT_EQ(gpu_tokens_at_once(scheme("fp8_e4m3_block128").info(), {4096, 1024}, 90, 101), 32);
  EXPECT_EQ(gpu_tokens_at_once(scheme("bf16").info(), {4100, 1024}, 90, 100), 100);
}

TEST(GpuPlan, LargeFp8WeightsGoByBlockWhereThatIsFaster) {
  constexpr int64_t kN = 16384, kK = 2048;  // 32 Mi
  EXPECT_FALSE(gpu_fp8_by_block(kN, kK, 32, 90));
  EXPECT_TRUE(gpu_fp8_by_block(kN, kK, 36, 90));
  EXPECT_TRUE(gpu_fp8_by_block(kN, kK, 64, 90));
  EXPECT_FALSE(gpu_fp8_by_block(kN, kK, 68, 90));
  EXPECT_FALSE(gpu_fp8_by_block(kN, kK, 62, 90));
  EXPECT_FALSE(gpu_fp8_by_block(kN - 16, kK, 64, 90));
  EXPECT_FALSE(gpu_fp8_by_block(kN + 8, kK, 64, 90));
  EXPECT_FALSE(gpu_fp8_by_block(kN, kK, 64, 89));
  const auto block_scales = [](std::string_view name, MatShape shape, int cc) {
    return gpu_block_scales_bytes(scheme(name).info(), cc, shape);
  };
  EXPECT_EQ(block_scales("fp8_e4m3", {kN, kK}, 90), 128 * 16 * 4);
  EXPECT_EQ(block_scales("fp8_e4m3_channel_static", {kN + 16, kK + 16}, 90), 129 * 20 * 4);
  EXPECT_EQ(block_scales("fp8_e4m3", {kN, kK / 2}, 90), 0);
  EXPECT_EQ(block_scales("fp8_e4m3", {kN, kK}, 80), 0);
  EXPECT_EQ(block_scales("fp8_e4m3_block128", {kN, kK}, 90), 0);  // has them as its own
  EXPECT_EQ(block_scales("int8", {kN, kK}, 90), 0);
}

TEST(GpuPlan, OnACpuItIsTheSchemesOwn) {
  EXPECT_EQ(plan_on(scheme("fp8_e4m3"), Isa::kAvx2).kernel, scheme("fp8_e4m3").plan(Isa::kAvx2).kernel);
}

TEST(GpuPlan, RefusesByNameWhatHasNoKernel) {
  EXPECT_EQ(gpu_refuses(scheme("ggml_q4_k").info(), 90), "no CUDA kernel for ggml_q4_k");
  const StackedPart parts[] = {{&scheme("bf16"), 16}, {&scheme("int4_g128"), 16}};
  EXPECT_NE(gpu_refuses(stacked_scheme(parts).info(), 90), "");
  EXPECT_NE(gpu_refuses(scheme("bf16").info(), 75).find("8.0 to 9.0, got 7.5"), std::string::npos);
  EXPECT_NE(gpu_refuses(scheme("bf16").info(), 100), "");
  EXPECT_NE(gpu_refuses(scheme("fp8_e4m3").info(), {64, 24}, 90).find("a multiple of 16 bytes, got 24"),
            std::string::npos);
  EXPECT_EQ(gpu_refuses(scheme("bf16").info(), {64, 24}, 90), "");
  EXPECT_THROW(plan("ggml_q4_k", 90), Error);
}

TEST(GpuPlan, InputsAreAsWideAsTheArithmetic) {
  const auto bytes = [](std::string_view name, int cc) { return gpu_input_bytes(scheme(name).info(), cc, 3, 256); };
  EXPECT_EQ(bytes("fp32", 90), 3 * 256 * 4);
  EXPECT_EQ(bytes("int4_g128", 90), 3 * 256 * 2);
  EXPECT_EQ(bytes("fp8_e4m3", 90), 3 * 256);
  EXPECT_EQ(bytes("fp8_e4m3", 80), 3 * 256 * 2);
  const auto scales = [](std::string_view name, int cc) {
    return gpu_input_scales_bytes(scheme(name).info(), cc, 3, 256);
  };
  EXPECT_EQ(scales("fp8_e4m3_block128", 90), 3 * 2 * 4);
  EXPECT_EQ(scales("int8", 90), 3 * 4);
  EXPECT_EQ(scales("bf16", 90), 0);
  EXPECT_EQ(scales("fp8_e4m3", 90), 3 * 4);
  // Of up to 64 tokens for each 128 inputs.
  EXPECT_EQ(gpu_input_scales_bytes(scheme("fp8_e4m3").info(), 90, 48, 4224), 48 * 33 * 4);
  EXPECT_EQ(gpu_input_scales_bytes(scheme("fp8_e4m3").info(), 90, 512, 4224), 64 * 33 * 4);
  EXPECT_EQ(gpu_input_scales_bytes(scheme("fp8_e4m3").info(), 90, 4096, 4224), 4096 * 4);
}

TEST(GpuPlan, RowsThatAreWaitedFor) {
  const auto rows = [](const char* name, MatShape shape, int64_t n_tokens) {
    return gpu_rows_waited_for(scheme(name).info(), shape, 90, n_tokens, 132);
  };
  EXPECT_EQ(rows("bf16", {3584, 3584}, 1), 2 * 132 * 16);
  EXPECT_EQ(rows("bf16", {3584, 3584}, 16), 3584);  // 112 blocks of 32, which are shared
  EXPECT_EQ(rows("bf16", {4608, 3584}, 16), 2 * 132 * 32);
  EXPECT_EQ(rows("bf16", {3584, 3584}, 17), 3584);  // cuBLASLt's
  EXPECT_EQ(rows("fp32", {3584, 3584}, 1), 3584);
  EXPECT_EQ(rows("int4_g128", {4608, 3584}, 4), 2 * 132 * 32);
  EXPECT_EQ(rows("int4_g128", {4608, 3584}, 8), 4608);  // too small for so many tokens
  EXPECT_EQ(rows("int4_g128", {3584, 18944}, 1), 132 * 32);
  EXPECT_EQ(rows("int4_g128", {3584, 18944}, 4), 3584);  // an input too large for shared memory
  EXPECT_EQ(rows("int8w", {4608, 18944}, 16), 4608);
  EXPECT_EQ(gpu_rows_waited_for(scheme("bf16").info(), {3584, 3584}, 90, 1, 0), 3584);
}

}  // namespace
}  // namespace trimeter
