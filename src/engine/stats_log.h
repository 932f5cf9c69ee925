// The periodic line of statistics, in vLLM's words.
#pragma once
#include <string>

#include "api/engine.h"

namespace trimeter {

struct Load {  // at this moment
  int32_t n_running = 0, n_waiting = 0;
  double kv_usage = 0;  // used blocks / blocks
};

// "Engine 000: Avg prompt throughput: 12.3 tokens/s, ..." over `seconds` between two totals; the prefix cache's hit
// rate is that of the whole time (vLLM: of the latest 1000 requests).
std::string stats_line(const EngineStats& before, const EngineStats& now, double seconds, const Load& load);

class StatsLog {
 public:
  // Every TRIMETER_LOG_STATS_INTERVAL seconds (default 10, as vLLM's). Throws Error(kBadArgument) if that is no
  // positive number.
  StatsLog();
  // After a step: writes the line when an interval is over. After an idle time a new interval starts.
  void update(double now_s, const EngineStats& totals, const Load& load);

 private:
  double interval_s_;
  double begin_s_ = 0;
  EngineStats begin_;
  bool idle_ = true;
};

}  // namespace trimeter
