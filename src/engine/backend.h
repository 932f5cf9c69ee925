// Where an engine's model lies and runs: this machine's memory and CPU, or a card. The engine loop above is the same.
#pragma once
#include <memory>
#include <span>

#include "base/memory_breakdown.h"
#include "base/thread_pool.h"
#include "engine/kv_memory.h"
#include "engine/step_runner.h"
#include "model/weights.h"

namespace trimeter {

class Backend {
 public:
  virtual ~Backend() = default;
  virtual MemoryBreakdown weights() const = 0;  // counted from what is really there
  // Computes a step, and the logits of these of its rows, in a KV cache of n_blocks of its own.
  virtual void profile(const StepBatch& batch, std::span<const int32_t> rows, int64_t n_blocks) = 0;
  // After profile().
  virtual int64_t activation_bytes() const = 0;  // the most that was in use
  // What is neither weights nor activations nor the engine loop's: rope tables; on a card block tables, too.
  virtual int64_t overhead_bytes() const = 0;
  // Of a card: what its driver took for the process beside all buffers (context, code, rounding; other processes'
  // memory, too), and for graphs.
  virtual int64_t context_bytes() const { return 0; }
  virtual int64_t graph_bytes() const { return 0; }
  virtual std::unique_ptr<StepRunner> make_runner(KvMemory& memory, int memory_user) = 0;
};

struct BackendOptions {
  std::filesystem::path model;
  ModelSpec spec;
  Format format;
  EngineLimits limits;
  LoadOptions load;
  ThreadPool* threads = nullptr;  // outlives the backend
};
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);
// On the current device. Only with TRIMETER_CUDA.
std::unique_ptr<Backend> make_cuda_backend(const BackendOptions& options);

}  // namespace trimeter
