#include <algorithm>
#include <numeric>

#include "cost/step_time.h"
#include "model/forward.h"
#include "probe/parts.h"
#include "probe/team_time.h"

namespace trimeter {

// So small that a step of it is next to nothing but its fixed cost.
ModelSpec tiny_spec(int64_t n_layers, int n_heads) {
  constexpr int64_t kHeadDim = 64;
  ModelSpec spec{};
  spec.architecture = "LlamaForCausalLM";
  spec.dtype = DType::kBF16;
  spec.hidden_size = spec.intermediate_size = spec.vocab_size = kHeadDim * n_heads;
  spec.n_heads = spec.n_kv_heads = n_heads;
  spec.head_dim = kHeadDim;
  spec.n_layers = n_layers;
  spec.max_position_embeddings = 16;
  spec.rms_norm_eps = 1e-6;
  spec.rope_theta = 10000;
  spec.tie_word_embeddings = true;
  return spec;
}

namespace {

// A barrier waits for the slowest: where another program takes a CPU for some milliseconds, it takes as long. So many
// short repeats, of which such a moment spoils few.
constexpr double kRepeatSeconds = 3e-5;
constexpr int kRepeats = 201;

LinearWeight random_linear(const LinearSpec& spec, const Scheme& scheme, ThreadPool& pool) {
  std::vector<uint16_t> rows(static_cast<size_t>(spec.shape.out * spec.shape.in));
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<uint16_t>(0x3c00 + i % 256);  // about 0.01
  const DenseRows part{reinterpret_cast<const std::byte*>(rows.data()), DType::kBF16, spec.shape.out};
  LinearWeight linear;
  linear.spec = spec;
  linear.scheme = &scheme;
  linear.packed = scheme.pack(scheme.quantize_rtn({&part, 1}, spec.shape), pool);
  return linear;
}

ModelWeights tiny_model(const ModelSpec& spec, const Format& format, ThreadPool& pool) {
  ModelWeights weights;
  weights.spec = spec;
  weights.format = format;
  const Scheme& scheme_of_layers = scheme(format.scheme);
  const std::vector<float> ones(static_cast<size_t>(spec.hidden_size), 1.0f);
  for (int layer = 0; layer < spec.n_layers; ++layer) {
    const std::vector<LinearSpec> linears = spec.linears_of_layer(layer);
    LayerWeights& made = weights.layers.emplace_back();
    made.input_norm = made.post_attention_norm = ones;
    made.qkv = random_linear(linears[0], scheme_of_layers, pool);
    made.attention_out = random_linear(linears[1], scheme_of_layers, pool);
    made.gate_up = random_linear(linears[2], scheme_of_layers, pool);
    made.down = random_linear(linears[3], scheme_of_layers, pool);
  }
  weights.final_norm = ones;
  weights.lm_head = random_linear(spec.lm_head(), linear_scheme(spec, format, spec.lm_head()), pool);
  return weights;
}

double tiny_step_s(ThreadPool& team, Isa isa, int64_t n_layers) {
  const Format baseline = format("bf16");
  const int n = team.size();
  const ModelSpec spec = tiny_spec(n_layers, n);
  const ModelWeights weights = tiny_model(spec, baseline, team);
  const EngineLimits limits{.max_model_len = 16, .max_num_seqs = n, .max_num_batched_tokens = n, .block_size = 16};
  Forward forward(weights, limits, team, isa);
  const KvLayout layout = kv_layout(spec, baseline, limits.block_size);
  Buffer blocks(layout.block_bytes() * n, "overhead probe");

  std::vector<int32_t> tokens(static_cast<size_t>(n), 1), rows(static_cast<size_t>(n)),
      block_tables(static_cast<size_t>(n));
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(block_tables.begin(), block_tables.end(), 0);
  std::vector<StepSeq> seqs;
  for (int32_t i = 0; i < n; ++i) seqs.push_back({i, 1, 0, &block_tables[static_cast<size_t>(i)]});
  ThreadPool alone(1);  // forward() uses the team itself
  return time_per_call(
      alone,
      [&](int) {
        forward.run({tokens, seqs}, {layout, blocks.data()});
        forward.logits(rows);
      },
      kRepeatSeconds, kRepeats);
}

double itemised_s(const HardwareProfile& profile, Target target, int64_t n_layers, int n_seqs) {
  HardwareProfile itemised = profile;
  itemised.step_overhead_s = itemised.layer_overhead_s = itemised.sampling_seconds_per_logit = 0;
  const Format baseline = format("bf16");
  const ModelSpec spec = tiny_spec(n_layers, n_seqs);
  StepShape shape{.seqs = {}, .n_logit_rows = n_seqs};
  shape.seqs.assign(static_cast<size_t>(n_seqs), {.n_new = 1, .n_context = 0});
  return StepTimer(spec, baseline, itemised, target, profile.threads).time(shape).seconds;
}

}  // namespace

FixedCosts measure_fixed_costs(ThreadPool& team, Isa isa) {
  const double barrier_s = time_per_call(
      team, [&](int) { team.barrier(); }, kRepeatSeconds, kRepeats);
  return {barrier_s, tiny_step_s(team, isa, FixedCosts::kFewLayers), tiny_step_s(team, isa, FixedCosts::kManyLayers)};
}

void solve_overheads(HardwareProfile& profile, const FixedCosts& costs, Target target, int n_seqs) {
  constexpr int kFew = FixedCosts::kFewLayers, kMany = FixedCosts::kManyLayers;
  profile.barrier_s = costs.barrier_s;
  const double few_s = costs.few_layers_s - itemised_s(profile, target, kFew, n_seqs);
  const double many_s = costs.many_layers_s - itemised_s(profile, target, kMany, n_seqs);
  profile.layer_overhead_s = std::max(0.0, (many_s - few_s) / (kMany - kFew));
  profile.step_overhead_s = std::max(0.0, few_s - kFew * profile.layer_overhead_s);
}

}  // namespace trimeter
