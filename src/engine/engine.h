// The embedded engine: our kernels behind api/engine.h.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "api/engine.h"
#include "base/thread_pool.h"
#include "engine/kv_memory.h"
#include "spec/ledger.h"
#include "spec/memory_fit.h"

namespace trimeter {

inline constexpr std::string_view kOwnFormat = "own";

struct EngineOptions {
  std::filesystem::path model;  // a Hugging Face directory or a GGUF file
  // A name of formats.def. Empty or "own": the checkpoint's own dtype or quantization; "own+kv-fp8", "own+kv-int8":
  // with a KV cache in 8 bits.
  std::string format;

  std::string device = "cpu";       // or "cuda": the first card
  int64_t device_memory_bytes = 0;  // 0: a quarter of this machine's memory; all of the card's
  double utilization = 0.9;         // of it, as vLLM's gpu_memory_utilization
  int32_t block_size = 16;          // tokens, a multiple of 16 (kernels/kv_layout.h)
  int32_t max_model_len = 0;        // 0: the model's. As in vLLM, one such sequence must fit the KV cache
  // vLLM's defaults (256 and 2048) feed a GPU. A CPU runs out of arithmetic, and no longer out of bandwidth, at some
  // tens of rows: more sequences would only wait for each other. More rows a step would only grow the activations, and
  // the time that a decode waits behind a prompt.
  int32_t max_num_seqs = 32;
  int32_t max_num_batched_tokens = 512;

  // Formats made here get their nearest codes instead of searched ones: for speed alone.
  bool nearest_codes = false;
  std::vector<std::string> calibration;   // texts, for formats whose algorithm looks at activations
  std::shared_ptr<ThreadPool> threads{};  // null: one of its own, a thread per CPU
  std::shared_ptr<KvMemory> kv_memory{};  // null: one of its own; shared by engines that take turns
  std::function<void(const std::string& what, int done, int total)> on_progress{};
};

// What the options come to for a model: for the ledger's and the cost model's predictions, and for the engine itself.
// Throws Error(kBadArgument) naming the option, wanted and got.
EngineLimits engine_limits(const EngineOptions& options, const ModelSpec& spec);
DeviceBudget device_budget(const EngineOptions& options);
// Throws Error(kUnsupported) for a card that is not there, or that this program was built without.
Target engine_target(const EngineOptions& options);
// In the device's memory, for engines that take turns.
std::shared_ptr<KvMemory> make_kv_memory(const EngineOptions& options);
Format engine_format(const EngineOptions& options, const ModelSpec& spec);

// Loads, profiles the largest step, sizes and allocates the KV pool. Refuses with Error before it loads anything what
// the ledger says can't fit (kNoMemory), and what is wrong with the files (kBadFile, kNotFound, kUnsupported). One
// thread may use an engine at a time.
std::unique_ptr<Engine> make_engine(const EngineOptions& options);

}  // namespace trimeter
