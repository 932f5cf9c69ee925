// What the host takes of a step: the engine's own loop over models so small that the card is done with them first.
#include <algorithm>
#include <memory>
#include <random>

#include "base/clock.h"
#include "base/stats.h"
#include "cost/step_time.h"
#include "engine/loop.h"
#include "model/cuda/forward.h"
#include "probe/cuda/parts.h"
#include "probe/cuda/random_model.h"
#include "probe/parts.h"

namespace trimeter::cuda {
namespace {

constexpr int kFew = FixedCosts::kFewLayers, kMany = FixedCosts::kManyLayers;

class TimedRunner : public StepRunner {
 public:
  TimedRunner(CudaForward& forward, KvView kv) : forward_(forward), kv_(kv) {}
  void run(const StepBatch& batch) override {
    const double begin = now_s();
    forward_.run(batch, kv_);
    launched_s = now_s() - begin;
  }
  std::span<const float> logits(std::span<const int32_t> rows) override { return forward_.logits(rows); }
  // Every request is greedy.
  std::span<const ChosenToken> choose(std::span<const int32_t> rows, std::span<const RowChoice>) override {
    greedy_.resize(rows.size());
    const std::span<const int32_t> tokens = forward_.draw(rows, greedy_);
    chosen_.assign(rows.size(), {});
    for (size_t i = 0; i < rows.size(); ++i) chosen_[i].token = tokens[i];
    return chosen_;
  }

  double launched_s = 0;  // of the last run: until all of it was enqueued

 private:
  CudaForward& forward_;
  KvView kv_;
  std::vector<RowDraw> greedy_;
  std::vector<ChosenToken> chosen_;
};

// A model and the loop of an engine with it.
class ProbeEngine {
 public:
  ProbeEngine(const ModelSpec& spec, const Format& format, const EngineLimits& limits, int64_t n_blocks,
              int compute_capability, const Stream& stream)
      : spec_(spec),
        weights_(random_model(spec, format, compute_capability, true, stream)),
        forward_(weights_, limits),
        layout_(kv_layout(spec, format, limits.block_size)),
        blocks_(numbers(n_blocks * layout_.block_bytes(), stream)),
        runner_(forward_, {layout_, blocks_.data()}),
        loop_(
            limits, n_blocks, {limits.max_model_len, static_cast<int32_t>(spec.vocab_size), {}},
            [](int32_t) { return std::string_view("a"); }, runner_) {
    stream.synchronize();
  }
  void submit(int n_requests, int n_prompt, int max_tokens) {
    for (int i = 0; i < n_requests; ++i) {
      Request request{.id = "probe", .prompt = std::vector<int32_t>(static_cast<size_t>(n_prompt)), .sampling = {}};
      for (int32_t& token : request.prompt)
        token = static_cast<int32_t>(random_() % static_cast<uint64_t>(spec_.vocab_size));
      request.sampling.temperature = 0;
      request.sampling.max_tokens = max_tokens;
      request.sampling.ignore_eos = true;
      loop_.submit(std::move(request));
    }
  }
  // A step's seconds, and whether it had no prompt token and ended no request.
  struct Step {
    double seconds = 0;
    bool decodes = false;
  };
  Step step() {
    const int64_t n_prompt_tokens = loop_.stats().n_prompt_tokens;
    const double begin = now_s();
    const Engine::StepResult result = loop_.step();
    return {now_s() - begin, result.finished.empty() && loop_.stats().n_prompt_tokens == n_prompt_tokens};
  }
  bool idle() const { return loop_.idle(); }
  double launched_s() const { return runner_.launched_s; }

 private:
  ModelSpec spec_;
  DeviceWeights weights_;
  CudaForward forward_;
  KvLayout layout_;
  DeviceBuffer blocks_;
  TimedRunner runner_;
  EngineLoop loop_;
  std::mt19937_64 random_{1};
};

// Beside what the card takes for the step, which all other parts of the profile say.
void measure_step_overheads(HardwareProfile& profile, int compute_capability, const Stream& stream) {
  constexpr int kMostSeqs = 512, kPromptTokens = 96, kNewTokens = 80, kLayers = 6;
  const EngineLimits limits{.max_model_len = 1024,
                            .max_num_seqs = kMostSeqs,
                            .max_num_batched_tokens = 2048,
                            .block_size = ProbeStep::kBlockSize};
  const Format format = format_of_scheme("bf16");
  const ModelSpec spec = small_spec(kLayers);
  ProbeEngine engine(spec, format, limits, kMostSeqs * (kPromptTokens + kNewTokens) / ProbeStep::kBlockSize,
                     compute_capability, stream);
  HardwareProfile without = profile;
  without.step_overhead_s = 0;
  const StepTimer timer(spec, format, without, Target::gpu(compute_capability), profile.threads, kMostSeqs);
  for (const int n_seqs : {1, 16, 64, 256, 512}) {
    engine.submit(n_seqs, kPromptTokens, kNewTokens);
    std::vector<double> seconds;
    while (!engine.idle())
      if (const ProbeEngine::Step step = engine.step(); step.decodes) seconds.push_back(step.seconds);
    StepShape shape{.seqs = {}, .n_logit_rows = n_seqs};
    shape.seqs.assign(static_cast<size_t>(n_seqs), {.n_new = 1, .n_context = kPromptTokens + kNewTokens / 2});
    profile.step_overheads.push_back({n_seqs, std::max(0.0, median(seconds) - timer.time(shape).seconds)});
  }
  profile.step_overhead_s = profile.step_overhead_s_of(16);
}

// Prompts come between steps of decoding, and of another model: they find little of what launching them takes in the
// host's caches. A layer is what the host takes to enqueue it; the rest is all else until the first tokens are there.
struct Launched {
  double step_s = 0, layer_s = 0;
};
Launched launched(const Format& format, int compute_capability, const Stream& stream) {
  constexpr int kPrompts = 16, kPromptTokens = 32, kNewTokens = 17, kTimes = 9;
  const EngineLimits limits{.max_model_len = 1024,
                            .max_num_seqs = kPrompts,
                            .max_num_batched_tokens = kPrompts * kPromptTokens,
                            .block_size = ProbeStep::kBlockSize};
  constexpr int64_t kBlocks = kPrompts * 4;
  ProbeEngine few(tiny_spec(kFew, 16), format, limits, kBlocks, compute_capability, stream),
      many(tiny_spec(kMany, 16), format, limits, kBlocks, compute_capability, stream);
  std::vector<double> few_launched_s, many_launched_s, few_s;
  for (int time = 0; time < kTimes; ++time)
    for (ProbeEngine* engine : {&few, &many}) {
      const double begin = now_s();
      engine->submit(kPrompts, kPromptTokens, kNewTokens);
      engine->step();
      if (engine == &few) few_s.push_back(now_s() - begin);
      (engine == &few ? few_launched_s : many_launched_s).push_back(engine->launched_s());
      while (!engine->idle()) engine->step();
    }
  const double layer_s = std::max(0.0, (median(many_launched_s) - median(few_launched_s)) / (kMany - kFew));
  return {std::max(0.0, median(few_s) - kFew * layer_s), layer_s};
}

}  // namespace

void measure_fixed_costs(HardwareProfile& profile, const std::vector<std::string>& schemes, int compute_capability,
                         const Stream& stream) {
  measure_step_overheads(profile, compute_capability, stream);
  for (const std::string& scheme_name : schemes) {
    const Launched of_scheme = launched(format_of_scheme(scheme_name), compute_capability, stream);
    profile.launched_layers[scheme_name] = of_scheme.layer_s;
    if (scheme_name != "bf16") continue;  // measure_gpu has it always
    profile.launched_step_s = of_scheme.step_s;
    profile.launched_layer_s = of_scheme.layer_s;
  }
}

}  // namespace trimeter::cuda
