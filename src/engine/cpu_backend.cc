#include <algorithm>

#include "engine/backend.h"
#include "engine/sampler.h"
#include "model/forward.h"

namespace trimeter {
namespace {

class CpuRunner : public StepRunner {
 public:
  CpuRunner(Forward& forward, const KvLayout& layout, KvMemory& memory, int memory_user)
      : forward_(forward), layout_(layout), memory_(memory), memory_user_(memory_user) {}
  void run(const StepBatch& batch) override { forward_.run(batch, {layout_, memory_.of(memory_user_).data()}); }
  std::span<const float> logits(std::span<const int32_t> rows) override { return forward_.logits(rows); }
  // All or none: to ask for logits, too, would read lm_head twice.
  std::span<const ChosenToken> choose(std::span<const int32_t> rows, std::span<const RowChoice> choices) override {
    chosen_.clear();
    const auto is_largest = [](const RowChoice& choice) {
      return choice.sampling != nullptr && takes_largest(*choice.sampling);
    };
    if (std::ranges::all_of(choices, is_largest))
      for (const int32_t token : forward_.largest(rows)) chosen_.push_back({token});
    return chosen_;
  }
  bool time_operations(OpClock* clock) override {
    forward_.time_operations(clock);
    return true;
  }

 private:
  Forward& forward_;
  KvLayout layout_;
  KvMemory& memory_;  // asked each time: it moves when it grows
  int memory_user_;
  std::vector<ChosenToken> chosen_;
};

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const BackendOptions& o)
      : weights_(load_weights(o.model, o.spec, o.format, o.load, *o.threads)),
        layout_(kv_layout(o.spec, o.format, o.limits.block_size)),
        forward_(weights_, o.limits, *o.threads, active_isa()) {}

  MemoryBreakdown weights() const override { return weights_.memory(); }
  void profile(const StepBatch& batch, std::span<const int32_t> rows, int64_t n_blocks) override {
    Buffer blocks(n_blocks * layout_.block_bytes(), "KV cache of the profiling run");
    forward_.run_first_layer(batch, {layout_, blocks.data()});  // the others take the same scratch
    forward_.logits(rows);
  }
  int64_t activation_bytes() const override { return forward_.activation_high_water_bytes(); }
  int64_t overhead_bytes() const override { return forward_.rope_bytes(); }
  std::unique_ptr<StepRunner> make_runner(KvMemory& memory, int memory_user) override {
    return std::make_unique<CpuRunner>(forward_, layout_, memory, memory_user);
  }

 private:
  ModelWeights weights_;
  KvLayout layout_;
  Forward forward_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  return std::make_unique<CpuBackend>(options);
}

}  // namespace trimeter
