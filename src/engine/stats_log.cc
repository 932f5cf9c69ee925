#include "engine/stats_log.h"

#include <cstdlib>

#include "base/error.h"
#include "base/log.h"

namespace trimeter {
namespace {

double interval_from_environment() {
  const char* wish = std::getenv("TRIMETER_LOG_STATS_INTERVAL");
  if (wish == nullptr || *wish == 0) return 10;
  char* end = nullptr;
  const double seconds = std::strtod(wish, &end);
  if (*end != 0 || !(seconds > 0))
    throw Error(Errc::kBadArgument, "TRIMETER_LOG_STATS_INTERVAL={}: wanted seconds, more than 0", wish);
  return seconds;
}

}  // namespace

std::string stats_line(const EngineStats& before, const EngineStats& now, double seconds, const Load& load) {
  const auto rate = [&](int64_t a, int64_t b) { return static_cast<double>(b - a) / seconds; };
  const double hit_rate = now.n_prefix_queries == 0
                              ? 0
                              : static_cast<double>(now.n_prefix_hits) / static_cast<double>(now.n_prefix_queries);
  const int64_t n_preemptions = now.n_preemptions - before.n_preemptions;
  return fmt::format(
      "Engine 000: Avg prompt throughput: {:.1f} tokens/s, Avg generation throughput: {:.1f} tokens/s, Running: {} "
      "reqs, "
      "Waiting: {} reqs{}, CPU KV cache usage: {:.1f}%, Prefix cache hit rate: {:.1f}%",
      rate(before.n_prompt_tokens, now.n_prompt_tokens), rate(before.n_generated_tokens, now.n_generated_tokens),
      load.n_running, load.n_waiting,
      n_preemptions > 0 ? fmt::format(", Preemptions: {}", n_preemptions) : std::string(), 100 * load.kv_usage,
      100 * hit_rate);
}

StatsLog::StatsLog() : interval_s_(interval_from_environment()) {}

void StatsLog::update(double now_s, const EngineStats& totals, const Load& load) {
  if (idle_) {
    begin_s_ = now_s;
    begin_ = totals;
  } else if (now_s - begin_s_ >= interval_s_) {
    TM_INFO("{}", stats_line(begin_, totals, now_s - begin_s_, load));
    begin_s_ = now_s;
    begin_ = totals;
  }
  idle_ = load.n_running + load.n_waiting == 0;
}

}  // namespace trimeter
