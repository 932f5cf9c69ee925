#include "cost/step_floor.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "cost/example.h"

namespace trimeter {
namespace {

const Format kBf16 = format("bf16");

// By hand: two linears' worth of a model is the ledger's business, the floor's is what it divides by.
TEST(StepFloor, IsTheLargerOfBytesAndOperations) {
  const ModelSpec model = example_spec();
  HardwareProfile hardware = example_hardware();
  hardware.read_bandwidth = {{1, 1, 1e9}};
  hardware.rates = {{"fp32", 2e9}, {"bf16", 4e9}};
  const StepShape step{.seqs = {{1, 7}, {1, 3}}, .n_logit_rows = 2};
  double bytes = 10 * 2 * 2.0 * static_cast<double>(model.n_layers * model.n_kv_heads * model.head_dim);  // the context
  double linear = 0, attention = 0;
  for (const OpCost& op : step_ledger(model, kBf16, step)) {
    const auto count = static_cast<double>(op.count);
    if (op.name != "attention") bytes += count * static_cast<double>(op.weight_bytes + op.kv_bytes);
    if (!op.scheme.empty()) linear += count * op.flops;
    if (op.name == "attention") attention += count * op.flops;
  }
  const StepFloor scalar = step_floor(model, kBf16, hardware, Isa::kScalar, step);
  EXPECT_DOUBLE_EQ(scalar.bytes, bytes);
  EXPECT_DOUBLE_EQ(scalar.operations, linear + attention);
  EXPECT_DOUBLE_EQ(scalar.bandwidth_s, bytes / 1e9);
  EXPECT_DOUBLE_EQ(scalar.arithmetic_s, (linear + attention) / 2e9);
  EXPECT_DOUBLE_EQ(scalar.seconds(), std::max(scalar.bandwidth_s, scalar.arithmetic_s));
  // What the kernel executes counts, not what was asked for; attention stays in fp32.
  EXPECT_DOUBLE_EQ(step_floor(model, kBf16, hardware, Isa::kAvx512Bf16, step).arithmetic_s,
                   linear / 4e9 + attention / 2e9);
  double op_bytes = 0, op_arithmetic_s = 0;
  std::set<std::string> names;
  for (const OpFloor& op : scalar.ops) {
    EXPECT_TRUE(names.insert(op.name).second) << op.name;
    EXPECT_NEAR(op.bandwidth_s, op.bytes / 1e9, 1e-12);
    op_bytes += op.bytes;
    op_arithmetic_s += op.arithmetic_s;
  }
  EXPECT_TRUE(names.contains("qkv_proj") && names.contains("lm_head") && names.contains("attention"));
  EXPECT_DOUBLE_EQ(op_bytes, scalar.bytes);
  EXPECT_DOUBLE_EQ(op_arithmetic_s, scalar.arithmetic_s);
  hardware.rates.erase("fp32");
  EXPECT_THROW(step_floor(model, kBf16, hardware, Isa::kScalar, step), Error);
}

TEST(StepFloor, OfAWorkloadSumsItsPromptSteps) {
  const ModelSpec model = example_spec();
  const HardwareProfile hardware = example_hardware();
  const EngineLimits limits{.max_model_len = 64, .max_num_seqs = 4, .max_num_batched_tokens = 8, .block_size = 16};
  // Two prompts of 6 tokens, 3 new each, in steps of 8. The second prompt is cut after 2, so that the first request
  // decodes beside it, and is done a step before it.
  const auto floor_of = [&](StepShape step) { return step_floor(model, kBf16, hardware, Isa::kScalar, step); };
  const StepFloor prompts[] = {floor_of({.seqs = {{6, 0}, {2, 0}}, .n_logit_rows = 1}),
                               floor_of({.seqs = {{1, 6}, {4, 2}}, .n_logit_rows = 2})};
  const StepFloor decodes[] = {floor_of({.seqs = {{1, 7}, {1, 6}}, .n_logit_rows = 2}),
                               floor_of({.seqs = {{1, 7}}, .n_logit_rows = 1})};
  const auto [floor, prompt, decode] = workload_floor(model, kBf16, hardware, Isa::kScalar, limits, 2, 6, 3);
  EXPECT_DOUBLE_EQ(floor.prompt_tokens_per_s, 12 / (prompts[0].seconds() + prompts[1].seconds()));
  EXPECT_DOUBLE_EQ(floor.prompt_bytes, prompts[0].bytes + prompts[1].bytes);
  EXPECT_DOUBLE_EQ(floor.decode_tokens_per_s, 3 / (decodes[0].seconds() + decodes[1].seconds()));
  EXPECT_DOUBLE_EQ(floor.decode_tokens, 1.5);
  EXPECT_DOUBLE_EQ(floor.decode_operations, (decodes[0].operations + decodes[1].operations) / 2);
  EXPECT_EQ(floor.decode_binds, decodes[0].binds());
  double prompt_operations = 0, decode_bytes = 0;
  for (const OpFloor& op : prompt) prompt_operations += op.operations;
  for (const OpFloor& op : decode) decode_bytes += op.bytes;
  EXPECT_DOUBLE_EQ(prompt_operations, floor.prompt_operations);
  EXPECT_DOUBLE_EQ(decode_bytes, floor.decode_bytes);
  EXPECT_EQ(workload_floor(model, kBf16, hardware, Isa::kScalar, limits, 2, 6, 1).record.decode_tokens_per_s, 0);
}

}  // namespace
}  // namespace trimeter
