#include "cost/stage_excess.h"

#include <gtest/gtest.h>

#include "cost/example.h"
#include "cost/product_fit.h"
#include "cost/step_time.h"

namespace trimeter {
namespace {

const Target kCard = Target::gpu(90);

StepShape decoding(int64_t n_seqs, int64_t n_context) {
  StepShape shape{.seqs = {}, .n_logit_rows = n_seqs};
  shape.seqs.assign(static_cast<size_t>(n_seqs), {.n_new = 1, .n_context = n_context});
  return shape;
}

HardwareProfile card() {
  HardwareProfile hardware = example_hardware();
  hardware.kind = "cuda";
  hardware.attention_seconds_per_kv_element = {{"BF16", 1e-12}, {"F8_E4M3", 5e-13}};
  return hardware;
}

LayerTimes times_of(const ModelSpec& spec, std::vector<RowTime> times) {
  return {"bf16", spec.hidden_size, spec.intermediate_size, spec.n_heads, spec.n_kv_heads, spec.head_dim, 1,
          100,    std::move(times)};
}

double layers_s(const ModelSpec& spec, const HardwareProfile& hardware, const StepShape& step) {
  return StepTimer(spec, format("bf16"), hardware, kCard, 1).time(step).operations_s(Stage::kLayers);
}

TEST(StageExcess, AMeasuredLayerTakesWhatWasMeasured) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = card();
  const StepTime operations = StepTimer(spec, format("bf16"), hardware, kCard, 1).time(decoding(4, 100));
  const double layer_s = operations.operations_s(Stage::kLayers), rest_s = operations.seconds - layer_s;
  hardware.layer_overhead_s = 1;  // of cards without measured layers
  hardware.layer_times = {times_of(spec, {{1, layer_s}, {4, 3 * layer_s}})};
  const auto time = [&](double measured_s) {
    hardware.layer_times[0].times[1].seconds = measured_s;
    return StepTimer(spec, format("bf16"), hardware, kCard, 1).time(decoding(4, 100));
  };
  const StepTime more = time(3 * layer_s);
  EXPECT_NEAR(more.seconds, rest_s + 3 * layer_s, 1e-12);
  EXPECT_NEAR(more.overhead_s, 2 * layer_s, 1e-12);
  EXPECT_DOUBLE_EQ(more.operations_s(Stage::kLayers), layer_s);
  // What the sum says too much is taken from its operations: no term is negative.
  const StepTime less = time(layer_s / 2);
  EXPECT_NEAR(less.seconds, rest_s + layer_s / 2, 1e-12);
  EXPECT_DOUBLE_EQ(less.overhead_s, 0);
  EXPECT_NEAR(less.terms.at(kWeightsBandwidthTerm), operations.terms.at(kWeightsBandwidthTerm) / 2, 1e-12);
}

TEST(StageExcess, IsThatOfTheSchemeBetweenItsSizesAndRows) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = card();
  ModelSpec small = spec, large = spec;  // a quarter and four times the weights of a layer
  small.hidden_size = 512, small.n_heads = small.n_kv_heads = 4, small.intermediate_size = 2048;
  large.hidden_size = 2048, large.n_heads = large.n_kv_heads = 16, large.intermediate_size = 8192;
  const auto with_excess = [&](const ModelSpec& of, double at_1, double at_8) {
    return times_of(
        of, {{1, layers_s(of, card(), decoding(1, 100)) + at_1}, {8, layers_s(of, card(), decoding(8, 100)) + at_8}});
  };
  hardware.layer_times = {with_excess(large, 5e-6, 12e-6), with_excess(small, 1e-6, 8e-6)};
  const StageExcess excess(spec, format("bf16"), hardware, kCard);
  EXPECT_NEAR(*excess.of_layer(1, true), 3e-6, 1e-12);
  EXPECT_NEAR(*excess.of_layer(8, true), 10e-6, 1e-12);
  EXPECT_NEAR(*excess.of_layer(2, true), 4e-6, 1e-12);
  EXPECT_NEAR(*excess.of_layer(100, true), 10e-6, 1e-12);
  EXPECT_FALSE(excess.of_layer(1, false).has_value());
  EXPECT_FALSE(excess.head_seconds(1).has_value());
  EXPECT_NEAR(*StageExcess(large, format("bf16"), hardware, kCard).of_layer(1, true), 5e-6, 1e-12);
  EXPECT_FALSE(StageExcess(spec, format("fp8"), hardware, kCard).of_layer(1, true).has_value());
  // With a cache in fewer bits it is the same; what the cache takes is in the operations.
  EXPECT_NEAR(*StageExcess(spec, format("bf16+kv-fp8"), hardware, kCard).of_layer(1, true), 3e-6, 1e-12);
}

TEST(StageExcess, ShapesOfAboutAsManyWeightsShareTheirs) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = card();
  ModelSpec same = spec;
  same.n_heads = same.n_kv_heads = 4, same.intermediate_size = 4096 + 2048 / 3;  // as many weights, in others' places
  same.hidden_size = 1024;
  const auto with_excess = [&](const ModelSpec& of, double seconds) {
    return times_of(of, {{1, layers_s(of, card(), decoding(1, 100)) + seconds}});
  };
  hardware.layer_times = {with_excess(spec, 2e-6), with_excess(same, 6e-6)};
  EXPECT_NEAR(*StageExcess(spec, format("bf16"), hardware, kCard).of_layer(1, true), 4e-6, 1e-8);
  ModelSpec other = spec;  // 4 + 30 Mi of weights, and 16
  other.intermediate_size = 10240;
  hardware.layer_times = {with_excess(spec, 2e-6), with_excess(other, 6e-6)};
  EXPECT_NEAR(*StageExcess(spec, format("bf16"), hardware, kCard).of_layer(1, true), 2e-6, 1e-12);
}

TEST(StageExcess, StepsWithPromptsHaveTheirOwn) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = card();
  const StepShape prompts{.seqs = {{32, 0}, {32, 0}}, .n_logit_rows = 2};
  LayerTimes measured = times_of(spec, {{64, layers_s(spec, hardware, prompts) + 7e-6}});
  measured.n_new = 32;
  measured.n_context = 0;
  hardware.layer_times = {measured};
  const StageExcess excess(spec, format("bf16"), hardware, kCard);
  EXPECT_NEAR(*excess.of_layer(64, false), 7e-6, 1e-12);
  EXPECT_FALSE(excess.of_layer(64, true).has_value());
  HardwareProfile less = hardware;
  less.layer_times[0].times[0].seconds -= 9e-6;
  EXPECT_EQ(StageExcess(spec, format("bf16"), less, kCard).of_layer(64, false), 0.0);
  const StepTimer timer(spec, format("bf16"), hardware, kCard, 1);
  EXPECT_NEAR(timer.time(prompts).overhead_s, 7e-6, 1e-12);
}

TEST(StageExcess, TheHeadIsNormLmHeadAndChoice) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = card();
  hardware.sampling_seconds_per_logit = 1e-12;
  const auto time = [&](int64_t n_seqs) {
    return StepTimer(spec, format("bf16"), hardware, kCard, 1).time(decoding(n_seqs, 100));
  };
  const StepTime before = time(4);
  const double head_s = before.operations_s(Stage::kHead);
  EXPECT_GT(head_s, 4 * 1024 * 1e-12);
  hardware.head_times = {{"bf16", spec.hidden_size, spec.vocab_size, {{4, head_s + 9e-6}}}};
  EXPECT_NEAR(time(4).seconds, before.seconds + 9e-6, 1e-12);
  hardware.head_times[0].scheme = "fp16";
  EXPECT_DOUBLE_EQ(time(4).seconds, before.seconds);
}

TEST(StageExcess, TheHeadIsThatOfItsVocabularyAndWidth) {
  const ModelSpec spec = example_spec();
  HardwareProfile hardware = card();
  const ProductFit want{4e-6, 3e-10, 0, 5e-13};
  for (const MatShape shape : {MatShape{4096, 256}, {64000, 1536}, {201088, 640}, {128256, 3072}})
    hardware.head_times.push_back(
        {"bf16", shape.in, shape.out, {{1, want.seconds(shape)}, {3, 3 * want.seconds(shape)}}});
  const StageExcess excess(spec, format("bf16"), hardware, kCard);
  const double at_1 = want.seconds({spec.vocab_size, spec.hidden_size});
  EXPECT_NEAR(*excess.head_seconds(1), at_1, 1e-12);
  EXPECT_NEAR(*excess.head_seconds(2), 2 * at_1, 1e-12);
  EXPECT_NEAR(*excess.head_seconds(512), 3 * at_1, 1e-12);
}

}  // namespace
}  // namespace trimeter
