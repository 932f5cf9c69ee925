#include "engine/stats_log.h"

#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>

#include <cstdlib>
#include <regex>
#include <sstream>

#include "base/error.h"
#include "base/log.h"

namespace trimeter {
namespace {

// What readers of vLLM's log look for (facts: the V1 line, with the optional field of newer ones).
const std::regex kVllmLine(
    R"(Engine \d{3}: Avg prompt throughput: (\d+\.\d) tokens/s, Avg generation throughput: (\d+\.\d) tokens/s, )"
    R"(Running: (\d+) reqs, Waiting: (\d+) reqs(?:, Preemptions: (\d+))?, )"
    R"((?:GPU|CPU) KV cache usage: (\d+\.\d)%, Prefix cache hit rate: (\d+\.\d)%)");

EngineStats totals(int64_t n_prompt, int64_t n_generated, int64_t n_preemptions) {
  EngineStats stats;
  stats.n_prompt_tokens = n_prompt;
  stats.n_generated_tokens = n_generated;
  stats.n_preemptions = n_preemptions;
  stats.n_prefix_queries = 200;
  stats.n_prefix_hits = 50;
  return stats;
}

TEST(StatsLine, IsVllmsLine) {
  std::smatch match;
  const std::string line = stats_line(totals(100, 50, 3), totals(1100, 75, 3), 10, {4, 2, 0.125});
  ASSERT_TRUE(std::regex_match(line, match, kVllmLine)) << line;
  const std::vector<std::string> want = {"100.0", "2.5", "4", "2", "", "12.5", "25.0"};
  for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(match[i + 1], want[i]);
  const std::string preempted = stats_line(totals(0, 0, 3), totals(0, 0, 5), 10, {});
  ASSERT_TRUE(std::regex_match(preempted, match, kVllmLine)) << preempted;
  EXPECT_EQ(match[5], "2");
}

class Captured {  // what is logged while it lives
 public:
  Captured() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(
        std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(text_)));
    spdlog::set_pattern("%v");
  }
  ~Captured() { spdlog::set_default_logger(before_); }
  std::string text() const { return text_.str(); }

 private:
  std::shared_ptr<spdlog::logger> before_;
  std::ostringstream text_;
};

TEST(StatsLog, OncePerIntervalAndNotOverIdleTime) {
  setenv("TRIMETER_LOG_STATS_INTERVAL", "5", 1);
  Captured captured;
  StatsLog log;
  log.update(100, totals(0, 0, 0), {1, 0, 0});
  log.update(104, totals(0, 40, 0), {1, 0, 0});
  EXPECT_EQ(captured.text(), "");
  log.update(106, totals(0, 60, 0), {1, 0, 0});
  EXPECT_NE(captured.text().find("generation throughput: 10.0 tokens/s"), std::string::npos) << captured.text();
  log.update(107, totals(0, 70, 0), {0, 0, 0});  // nothing left to do
  const size_t n_logged = captured.text().size();
  log.update(1000, totals(0, 80, 0), {1, 0, 0});
  EXPECT_EQ(captured.text().size(), n_logged) << "an interval with a long idle time in it says nothing";
  log.update(1005, totals(0, 180, 0), {1, 0, 0});
  EXPECT_NE(captured.text().find("generation throughput: 20.0 tokens/s"), std::string::npos) << captured.text();
}

TEST(StatsLog, AnIntervalThatIsNoNumberIsRefused) {
  for (const char* wish : {"0", "-1", "soon", "5s", "nan"}) {
    setenv("TRIMETER_LOG_STATS_INTERVAL", wish, 1);
    EXPECT_THROW(StatsLog(), Error) << wish;
  }
  unsetenv("TRIMETER_LOG_STATS_INTERVAL");
}

}  // namespace
}  // namespace trimeter
