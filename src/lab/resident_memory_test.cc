// What a process takes while an engine is made and runs, against the ledger.
#include <gtest/gtest.h>
#include <malloc.h>

#include <fstream>
#include <optional>
#include <string>

#include "base/cpu.h"
#include "containers/model_path.h"
#include "engine/engine.h"
#include "io/temporary_directory.h"
#include "lab/synth.h"

namespace trimeter {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool kSanitized = false;
#endif

// The proportions of a small model with a large vocabulary: in 4 bits half of its bytes are lm_head.
constexpr ModelShape kShape{.name = "test",
                            .family = ModelFamily::kQwen25,
                            .hidden_size = 512,
                            .intermediate_size = 2048,
                            .n_layers = 12,
                            .n_heads = 8,
                            .n_kv_heads = 2,
                            .head_dim = 64,
                            .vocab_size = 32'000,
                            .max_position_embeddings = 512,
                            .tie_word_embeddings = true};

// Linux counts a process's pages on each CPU and adds them up in batches of 32 and more: what status says is off by
// that much, before and after.
constexpr int64_t kUncountedBytes = 512 << 10;

int64_t status_bytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(field + ":")) return std::stoll(line.substr(field.size() + 1)) * 1024;
  return 0;
}

void reset_peak() {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";
}

// Quantized while it is loaded, too: at most a tenth more than what stays.
TEST(ResidentMemory, ThePeakIsAtMostATenthAboveTheLedger) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer's shadow memory is resident too";
  const TemporaryDirectory directory;
  const auto pool = std::make_shared<ThreadPool>(2);
  write_synthetic(kShape, 0, directory.path(), *pool, {});
  for (const char* format : {"bf16", "w8a16", "fp8", "w4a16", "w4a16+lm_head-w8a16", "awq"}) {
    reset_peak();
    const int64_t without_tokenizer = status_bytes("VmRSS");
    std::optional<Tokenizer> tokenizer = open_tokenizer(directory.path());
    malloc_trim(0);
    const int64_t tokenizer_bytes = status_bytes("VmRSS") - without_tokenizer;  // no ledger's
    tokenizer.reset();
    reset_peak();
    const int64_t before = status_bytes("VmRSS");
    ASSERT_LT(status_bytes("VmHWM") - before, 4 << 20) << "the peak could not be reset";
    EngineOptions options;
    options.model = directory.path();
    options.format = format;
    options.nearest_codes = true;  // calibration holds more
    options.max_num_seqs = 4;
    options.max_num_batched_tokens = 64;
    options.threads = pool;
    options.utilization = 1;
    const ModelSpec spec = make_model_spec(read_hf_config(directory.path()));
    const Format wanted = trimeter::format(format);
    const EngineLimits limits = engine_limits(options, spec);
    // Room for few blocks: a large pool would hide what loading takes.
    options.device_memory_bytes = weight_ledger(spec, wanted).weights_bytes +
                                  activation_bytes(spec, wanted, limits, active_isa()) + overhead_bytes(spec, limits) +
                                  (8 << 20);
    const std::unique_ptr<Engine> engine = make_engine(options);
    Request request;
    request.prompt = {1, 2, 3};
    engine->generate({request});
    const MemoryBreakdown& memory = engine->info().memory;
    const int64_t ledger = memory.weights_bytes + memory.kv_bytes + memory.activation_bytes + memory.overhead_bytes;
    EXPECT_LE(status_bytes("VmHWM") - before - tokenizer_bytes, ledger + ledger / 10 + kUncountedBytes)
        << format << ": " << ledger << " bytes";
  }
}

}  // namespace
}  // namespace trimeter
