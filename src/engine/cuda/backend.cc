#include "engine/backend.h"

#include <algorithm>

#include "base/cuda/cuda.h"
#include "base/gpu.h"
#include "engine/sampler.h"
#include "model/cuda/forward.h"

namespace trimeter {
namespace {

class DeviceKvMemory : public KvMemory {
  std::byte* take(int64_t bytes, ThreadPool&) override {
    buffer_ = cuda::DeviceBuffer();
    buffer_ = cuda::DeviceBuffer(bytes, "KV cache");
    return buffer_.data();
  }
  cuda::DeviceBuffer buffer_;
};

class CudaRunner : public StepRunner {
 public:
  CudaRunner(cuda::CudaForward& forward, int64_t vocab_size, const KvLayout& layout, KvMemory& memory, int memory_user)
      : forward_(forward), layout_(layout), memory_(memory), memory_user_(memory_user), vocab_size_(vocab_size) {}
  void run(const StepBatch& batch) override { forward_.run(batch, {layout_, memory_.of(memory_user_).data()}); }
  std::span<const float> logits(std::span<const int32_t> rows) override { return forward_.logits(rows); }
  std::span<const ChosenToken> choose(std::span<const int32_t> rows, std::span<const RowChoice> choices) override {
    draws_.clear();
    for (const RowChoice& choice : choices) draws_.push_back(chooses(choice) ? draw_of(choice) : cuda::RowDraw{});
    if (std::ranges::none_of(choices, [&](const RowChoice& choice) { return chooses(choice); })) return {};
    const std::span<const int32_t> tokens = forward_.draw(rows, draws_);
    const DrawLogprob* from = forward_.logprobs();
    chosen_.assign(rows.size(), {});
    logprobs_.clear();
    logprobs_.reserve(rows.size() * (kMostDrawLogprobs + 1));  // spans of it are given away
    for (size_t i = 0; i < rows.size(); ++i) {
      if (!chooses(choices[i])) continue;
      chosen_[i].token = tokens[i];
      if (draws_[i].n_logprobs < 0) continue;
      const auto n = std::min<size_t>(static_cast<size_t>(draws_[i].n_logprobs), static_cast<size_t>(vocab_size_)) + 1;
      for (size_t j = 0; j < n; ++j) logprobs_.push_back({from[j].token, from[j].logprob});
      chosen_[i].logprobs = std::span(logprobs_).last(n);
      from += kMostDrawLogprobs + 1;
    }
    return chosen_;
  }

 private:
  // Logits go to the host for scores, for more logprobs than a draw has room for, and of a vocabulary of more tokens
  // than it numbers.
  bool chooses(const RowChoice& choice) const {
    if (choice.sampling == nullptr) return false;
    return takes_largest(*choice.sampling) ||
           (choice.sampling->logprobs <= kMostDrawLogprobs && vocab_size_ <= kMostDrawVocab);
  }
  static cuda::RowDraw draw_of(const RowChoice& choice) {
    const SamplingParams& sampling = *choice.sampling;
    return {.parameters = {.temperature = is_greedy(sampling) ? 0 : sampling.temperature,
                           .top_p = sampling.top_p,
                           .min_p = sampling.min_p,
                           .uniform = choice.uniform,
                           .penalty = static_cast<float>(sampling.repetition_penalty),
                           .top_k = sampling.top_k},
            .penalised = choice.tokens,
            .n_logprobs = sampling.logprobs};
  }

  cuda::CudaForward& forward_;
  KvLayout layout_;
  KvMemory& memory_;  // asked each time: it moves when it grows
  int memory_user_;
  int64_t vocab_size_;
  std::vector<cuda::RowDraw> draws_;  // of a call, as are the others
  std::vector<ChosenToken> chosen_;
  std::vector<TokenLogprob> logprobs_;
};

int64_t graph_bytes_of_all = 0;  // engines of this process; they are made and ended by one thread

// What the driver holds beside our buffers and graphs: the context, code, what allocations are rounded up by.
int64_t unaccounted_bytes() {
  const cuda::DeviceMemory device = cuda::device_memory();
  return device.total_bytes - device.free_bytes - cuda::device_bytes().now - graph_bytes_of_all;
}

class CudaBackend : public Backend {
 public:
  explicit CudaBackend(const BackendOptions& o)
      : weights_(cuda::load_device_weights(o.model, o.spec, o.format, o.load, *o.threads)),
        layout_(kv_layout(o.spec, o.format, o.limits.block_size)),
        forward_(weights_, o.limits) {}

  ~CudaBackend() override { graph_bytes_of_all -= forward_.graph_bytes(); }

  MemoryBreakdown weights() const override { return weights_.memory(); }
  void profile(const StepBatch& batch, std::span<const int32_t> rows, int64_t n_blocks) override {
    const cuda::DeviceBuffer blocks(n_blocks * layout_.block_bytes(), "KV cache of the profiling run");
    const KvView kv{layout_, blocks.data()};
    forward_.run(batch, kv);
    std::vector<cuda::RowDraw> draws;  // so that the code of draws is loaded, too, before memory is shared out
    if (weights_.spec.vocab_size <= kMostDrawVocab)
      draws.assign(rows.size(), {.parameters = {.temperature = 1}, .penalised = {}, .n_logprobs = 0});
    forward_.draw(rows, draws);
    forward_.record_graphs(kv);
    graph_bytes_of_all += forward_.graph_bytes();
    context_bytes_ = gpu_runtime_bytes() + unaccounted_bytes() - unaccounted_before_;
  }
  int64_t activation_bytes() const override { return forward_.activation_bytes(); }
  int64_t overhead_bytes() const override { return forward_.overhead_bytes(); }
  int64_t context_bytes() const override { return context_bytes_; }
  int64_t graph_bytes() const override { return forward_.graph_bytes(); }
  std::unique_ptr<StepRunner> make_runner(KvMemory& memory, int memory_user) override {
    return std::make_unique<CudaRunner>(forward_, weights_.spec.vocab_size, layout_, memory, memory_user);
  }

 private:
  const int64_t unaccounted_before_ = unaccounted_bytes();  // other engines' share
  cuda::DeviceWeights weights_;
  KvLayout layout_;
  cuda::CudaForward forward_;
  int64_t context_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options) {
  return std::make_unique<CudaBackend>(options);
}

std::shared_ptr<KvMemory> make_device_kv_memory() { return std::make_shared<DeviceKvMemory>(); }

}  // namespace trimeter
