#include "spec/ledger.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"

namespace trimeter {
namespace {

// The shape of models/demo.
ModelSpec demo_spec() {
  HfConfig config;
  config.path = "config.json";
  config.architecture = "Qwen2ForCausalLM";
  config.vocab_size = 4096;
  config.hidden_size = 256;
  config.intermediate_size = 768;
  config.n_layers = 6;
  config.n_heads = 4;
  config.n_kv_heads = 2;
  config.max_position_embeddings = 1024;
  config.tie_word_embeddings = true;
  return make_model_spec(config);
}
constexpr int64_t kLayerElements = 512 * 256 + 256 * 256 + 1536 * 256 + 256 * 768;

TEST(Ledger, WeightsOfTheDemoModelByHand) {
  const MemoryBreakdown bf16 = weight_ledger(demo_spec(), format("bf16"));
  EXPECT_EQ(bf16.linear_bytes, 6 * kLayerElements * 2);
  EXPECT_EQ(bf16.scales_bytes, 0);
  EXPECT_EQ(bf16.embedding_bytes, 4096 * 256 * 2);
  EXPECT_EQ(bf16.norm_bytes, (13 * 256 + 6 * 512) * 4);
  EXPECT_EQ(bf16.weights_bytes, bf16.linear_bytes + bf16.embedding_bytes + bf16.norm_bytes);
  EXPECT_EQ(weight_ledger(demo_spec(), format("fp32")).linear_bytes, 2 * bf16.linear_bytes);
  // Quantized: values at the scheme's bits, embedding and norms untouched.
  for (const char* quantized : {"fp8", "awq"}) {
    const MemoryBreakdown memory = weight_ledger(demo_spec(), format(quantized));
    const double bits = scheme(format(quantized).scheme).info().bits_per_weight;
    EXPECT_EQ(memory.linear_bytes - memory.scales_bytes, static_cast<int64_t>(6 * kLayerElements * bits / 8));
    const WeightBytes scales_of_all = scheme(format(quantized).scheme).bytes({kLayerElements / 256, 256});
    EXPECT_EQ(memory.scales_bytes, 6 * scales_of_all.scales) << quantized;
    EXPECT_EQ(memory.embedding_bytes, bf16.embedding_bytes);
    EXPECT_EQ(memory.norm_bytes, bf16.norm_bytes);
  }
}

TEST(Ledger, LmHeadInAnotherFormatTakesItsBytesAndATiedEmbeddingGoesWithIt) {
  const MemoryBreakdown plain = weight_ledger(demo_spec(), format("awq"));
  const MemoryBreakdown quantized = weight_ledger(demo_spec(), format("awq+lm_head-w8a16+kv-fp8"));
  EXPECT_EQ(quantized.embedding_bytes, scheme("int8w").bytes({4096, 256}).total());
  EXPECT_EQ(quantized.linear_bytes, plain.linear_bytes);
  ModelSpec untied = demo_spec();
  untied.tie_word_embeddings = false;
  EXPECT_EQ(weight_ledger(untied, format("awq+lm_head-w8a16")).embedding_bytes,
            quantized.embedding_bytes + 4096 * 256 * 2);
}

TEST(Format, NamesWithLmHead) {
  EXPECT_EQ(format("awq+lm_head-w8a16").scheme_of_module.at("lm_head"), "int8w");
  EXPECT_EQ(format("awq+lm_head-w8a16").name, "awq+lm_head-w8a16");
  EXPECT_EQ(format("awq+lm_head-w8a16+kv-int8").kv_dtype, DType::kI8);
  EXPECT_EQ(name_with_lm_head("awq+kv-fp8", "int8"), "awq+lm_head-int8+kv-fp8");
  for (const char* as_it_is : {"bf16", "own", "./demo-awq", "awq+lm_head-w8a16"})
    EXPECT_EQ(name_with_lm_head(as_it_is, "int8"), as_it_is);
  for (const char* refused :
       {"awq+lm_head-bf16", "bf16+lm_head-int8", "awq+lm_head-fp8-static", "awq+lm_head-q", "awq+lm_head-"})
    EXPECT_THROW(format(refused), Error) << refused;
}

TEST(Ledger, AnUntiedEmbeddingIsCountedBesideLmHead) {
  ModelSpec spec = demo_spec();
  spec.tie_word_embeddings = false;
  EXPECT_EQ(weight_ledger(spec, format("bf16")).embedding_bytes, 2 * 4096 * 256 * 2);
}

TEST(Ledger, DenseDtypeFollowsTheFormatThenTheCheckpoint) {
  ModelSpec spec = demo_spec();
  spec.dtype = DType::kF16;
  EXPECT_EQ(dense_dtype(spec, format("bf16")), DType::kBF16);
  EXPECT_EQ(dense_dtype(spec, format("fp16")), DType::kF16);
  EXPECT_EQ(dense_dtype(spec, format("fp32")), DType::kF32);
  EXPECT_EQ(dense_dtype(spec, format("awq")), DType::kF16);
  spec.dtype = DType::kF32;
  EXPECT_EQ(dense_dtype(spec, format("fp8")), DType::kBF16);
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32})
    EXPECT_EQ(dense_scheme(dtype).info().activation, dtype);
}

TEST(Ledger, BlocksAreTheFloorOfWhatIsLeft) {
  EXPECT_EQ(kv_layout(demo_spec(), format("bf16"), 16).block_bytes(), 2 * 6 * 2 * 64 * 2 * 16);
  EXPECT_EQ(kv_layout(demo_spec(), format("awq+kv-fp8"), 16).block_bytes(), 2 * 6 * 2 * 64 * 16);
  EXPECT_EQ(kv_layout(demo_spec(), format("bf16+kv-int8"), 16).block_bytes(), 2 * 6 * 2 * (64 + 2) * 16);
  EXPECT_THROW(format("bf16+kv-int3"), Error);
  MemoryBreakdown memory;
  memory.weights_bytes = 300;
  memory.activation_bytes = 150;
  memory.overhead_bytes = 50;
  EXPECT_EQ(kv_blocks(2000, 0.5, memory, 100), 5);
  EXPECT_EQ(kv_blocks(1998, 0.5, memory, 100), 4);
  EXPECT_EQ(kv_blocks(1000, 0.5, memory, 100), 0);
  EXPECT_EQ(kv_blocks(998, 0.5, memory, 100), -1);
}

TEST(Ledger, MemoryLedgerIsTheSumOfItsTerms) {
  const EngineLimits limits{.max_model_len = 1000, .max_num_seqs = 8, .max_num_batched_tokens = 512, .block_size = 16};
  const ModelSpec spec = demo_spec();
  const Format& awq = format("awq");
  const int64_t device = 64 << 20;
  const MemoryBreakdown memory = memory_ledger(spec, awq, limits, Isa::kScalar, device, 0.9);
  EXPECT_EQ(memory.overhead_bytes, 1000 * 64 * 4 + 8 * 63 * 4 + 4096 * 8);
  EXPECT_EQ(memory.activation_bytes, activation_bytes(spec, awq, limits, Isa::kScalar));
  const int64_t block_bytes = kv_layout(spec, awq, 16).block_bytes();
  const int64_t used = memory.weights_bytes + memory.activation_bytes + memory.overhead_bytes + memory.kv_bytes;
  const auto budget = static_cast<int64_t>(0.9 * static_cast<double>(device));
  EXPECT_LE(used, budget);
  EXPECT_GT(used + block_bytes, budget);
  EXPECT_EQ(memory_ledger(spec, awq, limits, Isa::kScalar, 1 << 20, 0.9).kv_bytes, 0);
}

TEST(Ledger, ScratchKeepsOnlyTheResidualForAllRows) {
  const ModelSpec spec = demo_spec();
  const ForwardScratch scratch = forward_scratch(spec, {1024, 16, 2048, 16});
  EXPECT_EQ(scratch.residual, 2048 * 256);
  EXPECT_EQ(scratch.input, kPieceRows * 768);
  EXPECT_EQ(scratch.projection, kPieceRows * 1536);
  EXPECT_EQ(scratch.logits, 16 * 4096);
  EXPECT_EQ(forward_scratch(spec, {1024, 16, 20, 16}).input, 20 * 768);
}

TEST(Ledger, AFormatThatCannotHoldAMatrixIsRefusedByName) {
  ModelSpec spec = demo_spec();
  EXPECT_NO_THROW(check_format_fits(spec, format("awq")));
  spec.intermediate_size = 900;  // down_proj's input is no multiple of the group
  try {
    check_format_fits(spec, format("awq"));
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kUnsupported);
    EXPECT_NE(std::string(error.what()).find("down_proj"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("900"), std::string::npos) << error.what();
  }
}

struct Totals {
  int64_t weight_bytes = 0, kv_bytes = 0;
  double linear_flops = 0, attention_flops = 0;
};
Totals totals(const std::vector<OpCost>& ops) {
  Totals sum;
  for (const OpCost& op : ops) {
    sum.weight_bytes += op.count * op.weight_bytes;
    sum.kv_bytes += op.count * op.kv_bytes;
    if (!op.scheme.empty()) sum.linear_flops += static_cast<double>(op.count) * op.flops;
    if (op.name == "attention") sum.attention_flops += static_cast<double>(op.count) * op.flops;
  }
  return sum;
}

TEST(StepLedger, ADecodeStepReadsEveryWeightOnce) {
  const ModelSpec spec = demo_spec();
  for (const Format& row : all_formats()) {
    const Totals sum = totals(step_ledger(spec, row, {{{1, 99}, {1, 9}}, 2}));
    const MemoryBreakdown memory = weight_ledger(spec, row);
    EXPECT_EQ(sum.weight_bytes, memory.linear_bytes + memory.embedding_bytes + 6 * 512 * 4) << row.name;
    EXPECT_EQ(sum.linear_flops, 2.0 * 2 * (6 * kLayerElements + 4096 * 256)) << row.name;
    // (100 + 10) tokens seen and 2 written, K and V, 6 layers, 2 heads of 64.
    const int64_t kv_bytes = size_of(dense_dtype(spec, row));
    EXPECT_EQ(sum.kv_bytes, (110 + 2) * 2 * 6 * 2 * 64 * kv_bytes) << row.name;
    EXPECT_EQ(sum.attention_flops, 4.0 * 110 * 6 * 4 * 64) << row.name;
  }
}

TEST(StepLedger, PrefillSeesTheTriangleAndReadsWeightsOncePerPiece) {
  const ModelSpec spec = demo_spec();
  const std::vector<OpCost> ops = step_ledger(spec, format("bf16"), {{{600, 7}}, 0});
  std::map<std::string, int64_t> times, tokens;
  for (const OpCost& op : ops) {
    times[op.name] += op.count;
    tokens[op.name] += op.count * op.n_tokens;
    EXPECT_NE(op.name, "lm_head");
  }
  EXPECT_EQ(times["qkv_proj"], 6 * 3);  // 256 + 256 + 88 rows
  EXPECT_EQ(tokens["qkv_proj"], 6 * 600);
  EXPECT_EQ(times["rms_norm"], 12);
  EXPECT_EQ(totals(ops).attention_flops, 4.0 * (600 * 7 + 600 * 601 / 2) * 6 * 4 * 64);
}

TEST(Ledger, GraphsOfACardHaveNoMoreRowsThanTheEngine) {
  EXPECT_EQ(gpu_graph_sizes(1), std::vector<int64_t>{1});
  EXPECT_EQ(gpu_graph_sizes(10), (std::vector<int64_t>{1, 2, 3, 4, 6, 8, 10}));
  EXPECT_EQ(gpu_graph_sizes(8), (std::vector<int64_t>{1, 2, 3, 4, 6, 8}));
  EXPECT_EQ(gpu_graph_sizes(4096), std::vector<int64_t>(std::begin(kGpuGraphRows), std::end(kGpuGraphRows)));
  EXPECT_EQ(gpu_graph_rows(9, 10), 10);
  EXPECT_EQ(gpu_graph_rows(17, 256), 24);
  EXPECT_EQ(gpu_graph_rows(512, 4096), 512);
  EXPECT_EQ(gpu_graph_rows(513, 4096), std::nullopt);
}

}  // namespace
}  // namespace trimeter
