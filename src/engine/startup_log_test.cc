#include "engine/startup_log.h"

#include <gtest/gtest.h>

#include <regex>

namespace trimeter {
namespace {

// The patterns by which readers of vLLM's log find its start-up figures.
std::string first_group(const std::string& line, const char* pattern) {
  std::smatch match;
  if (!std::regex_search(line, match, std::regex(pattern))) return "no match: " + line;
  return match[1];
}

EngineInfo info() {
  EngineInfo info;
  info.kv_blocks = 13578;
  info.block_size = 16;
  info.max_model_len = 8192;
  info.memory.kv_bytes = int64_t{13} << 28;
  return info;
}

TEST(StartupLog, ModelLoading) {
  const std::string line = model_loading_line(int64_t{31} << 28, 3.1513554);
  EXPECT_EQ(first_group(line, R"(Model loading took ([\d.]+) GiB memory and [\d.]+ seconds)"), "7.7500");
  EXPECT_EQ(first_group(line, R"(GiB memory and ([\d.]+) seconds$)"), "3.151355");
}

TEST(StartupLog, KvCache) {
  const std::vector<std::string> lines = kv_cache_lines(info());
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(first_group(lines[0], R"(^Available KV cache memory: ([\d.]+) GiB)"), "3.2500");
  EXPECT_EQ(first_group(lines[1], R"(^(?:GPU|CPU|XPU) KV cache size: ([\d,]+) tokens$)"), "217,248");
  EXPECT_EQ(first_group(lines[2], R"(^# (?:GPU|CPU|CUDA) blocks: (\d+)$)"), "13578");
  EXPECT_EQ(first_group(lines[3], R"(^Maximum concurrency for ([\d,]+) tokens per request: [\d.]+x$)"), "8,192");
  EXPECT_EQ(first_group(lines[3], R"(tokens per request: ([\d.]+)x$)"), "26.52");
}

TEST(StartupLog, ThousandsAreGrouped) {
  EngineInfo small = info();
  small.block_size = 1;
  const auto tokens = [&](int64_t n) {
    small.kv_blocks = n;
    return first_group(kv_cache_lines(small)[1], "size: ([0-9,]+) tokens");
  };
  EXPECT_EQ(tokens(999), "999");
  EXPECT_EQ(tokens(1000), "1,000");
  EXPECT_EQ(tokens(12345678), "12,345,678");
}

TEST(StartupLog, InitEngine) {
  EXPECT_EQ(first_group(init_engine_line(17.266),
                        R"(init engine \(profile, create kv cache, warmup model\) took ([\d.]+) s)"),
            "17.27");
}

TEST(StartupLog, OneLinePerKernelWithItsRoles) {
  const std::vector<std::string> lines =
      kernel_lines_by_kernel({"qkv_proj: fp8_e4m3.avx2: fp8 requested, bf16 executed: no fp8 units",
                              "o_proj: fp8_e4m3.avx2: fp8 requested, bf16 executed: no fp8 units",
                              "lm_head: bf16.avx2: bf16 requested, fp32 executed"});
  EXPECT_EQ(lines, (std::vector<std::string>{
                       "Using fp8_e4m3.avx2 for qkv_proj, o_proj: fp8 requested, bf16 executed: no fp8 units",
                       "Using bf16.avx2 for lm_head: bf16 requested, fp32 executed"}));
}

}  // namespace
}  // namespace trimeter
