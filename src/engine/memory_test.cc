// What fits a budget, and who may use the KV memory.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/kv_memory.h"
#include "spec/memory_fit.h"

namespace trimeter {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr EngineLimits kLimits{
    .max_model_len = 1000, .max_num_seqs = 4, .max_num_batched_tokens = 64, .block_size = 16};

MemoryBreakdown breakdown() {
  MemoryBreakdown memory;
  memory.linear_bytes = 8 * kMiB;
  memory.embedding_bytes = 2 * kMiB;
  memory.norm_bytes = kMiB / 2;
  memory.weights_bytes = memory.linear_bytes + memory.embedding_bytes + memory.norm_bytes;
  memory.activation_bytes = 4 * kMiB;
  memory.overhead_bytes = kMiB / 4;
  return memory;
}

TEST(MemoryFit, CountsWholeBlocks) {
  const int64_t fixed = breakdown().weights_bytes + breakdown().activation_bytes + breakdown().overhead_bytes;
  const auto fit = [&](int64_t bytes) { return blocks_that_fit("m", {bytes, 1.0}, breakdown(), kLimits, 50000); };
  EXPECT_EQ(fit(fixed + 63 * 50000), 63);  // ceil(1000 / 16) = 63 blocks: just enough for the longest sequence
  EXPECT_EQ(fit(fixed + 64 * 50000 - 1), 63);
  EXPECT_EQ(fit(fixed + 64 * 50000), 64);
  EXPECT_THROW(fit(fixed + 63 * 50000 - 1), Error);
}

std::string refusal(int64_t device_memory_bytes, double utilization) {
  try {
    blocks_that_fit("models/m in bf16", {device_memory_bytes, utilization}, breakdown(), kLimits, 65536);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kNoMemory);
    return error.what();
  }
  return "";
}

TEST(MemoryFit, SaysPerTermWhatIsMissing) {
  EXPECT_EQ(
      refusal(20 * kMiB, 0.9),
      "device memory 20.00 MiB x utilization 0.90 = 18.00 MiB is too small for models/m in bf16: weights 10.50 MiB "
      "(linear 8.00 MiB, embedding and lm_head 2.00 MiB, norms and biases 0.50 MiB) + activations 4.00 MiB + "
      "overhead 0.25 MiB + KV cache for one sequence of 1000 tokens 3.94 MiB (63 blocks of 65536 bytes) = 18.69 "
      "MiB; 0.69 MiB are missing: wanted a device memory of at least 20.77 MiB, or a max_model_len of at most 832");
  EXPECT_EQ(refusal(10 * kMiB, 1).find("max_model_len of at most"), std::string::npos) << "no length would help";
  // The stated figure is enough.
  EXPECT_EQ(refusal(static_cast<int64_t>(20.77 * kMiB), 0.9), "");
}

TEST(KvMemory, GrowsAndTellsWhoseContentIsThere) {
  ThreadPool threads(2);
  KvMemory memory;
  const int a = memory.add_user(1000, threads);
  EXPECT_TRUE(memory.begin(a)) << "nothing of its own is there yet";
  memory.end(a);
  EXPECT_FALSE(memory.begin(a));
  memory.end(a);
  const int b = memory.add_user(500, threads);
  EXPECT_EQ(memory.bytes(), 1000);
  EXPECT_EQ(memory.of(a).size(), 1000u);
  EXPECT_EQ(memory.of(b).size(), 500u) << "its own share, not all that is there";
  EXPECT_FALSE(memory.begin(a)) << "a smaller user changes nothing until it works";
  memory.end(a);
  EXPECT_TRUE(memory.begin(b));
  memory.end(b);
  EXPECT_TRUE(memory.begin(a)) << "b has written since";
  memory.end(a);
  memory.add_user(5 << 20, threads);
  EXPECT_EQ(memory.bytes(), 5 << 20);
  EXPECT_TRUE(memory.begin(a)) << "growing lost it";
}

TEST(KvMemory, NobodyBeginsOrGrowsWhileAnotherWorks) {
  ThreadPool threads(1);  // a death test forks
  KvMemory memory;
  const int a = memory.add_user(1000, threads), b = memory.add_user(1000, threads);
  memory.begin(a);
  memory.begin(a);  // goes on with its sequences
  EXPECT_DEATH(memory.begin(b), "user 1 begins while user 0 works");
  EXPECT_DEATH(memory.add_user(2000, threads), "can't grow");
}

}  // namespace
}  // namespace trimeter
