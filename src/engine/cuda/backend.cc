#include "engine/backend.h"

#include "base/cuda/cuda.h"
#include "base/gpu.h"
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
  CudaRunner(cuda::CudaForward& forward, const KvLayout& layout, KvMemory& memory, int memory_user)
      : forward_(forward), layout_(layout), memory_(memory), memory_user_(memory_user) {}
  void run(const StepBatch& batch) override { forward_.run(batch, {layout_, memory_.of(memory_user_).data()}); }
  std::span<const float> logits(std::span<const int32_t> rows) override { return forward_.logits(rows); }
  std::span<const int32_t> largest(std::span<const int32_t> rows) override { return forward_.largest(rows); }

 private:
  cuda::CudaForward& forward_;
  KvLayout layout_;
  KvMemory& memory_;  // asked each time: it moves when it grows
  int memory_user_;
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
    forward_.largest(rows);
    forward_.record_graphs(kv);
    graph_bytes_of_all += forward_.graph_bytes();
    context_bytes_ = gpu_runtime_bytes() + unaccounted_bytes() - unaccounted_before_;
  }
  int64_t activation_bytes() const override { return forward_.activation_bytes(); }
  int64_t overhead_bytes() const override { return forward_.overhead_bytes(); }
  int64_t context_bytes() const override { return context_bytes_; }
  int64_t graph_bytes() const override { return forward_.graph_bytes(); }
  std::unique_ptr<StepRunner> make_runner(KvMemory& memory, int memory_user) override {
    return std::make_unique<CudaRunner>(forward_, layout_, memory, memory_user);
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
