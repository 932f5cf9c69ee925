// The order of a comparison: check everything, know the machine, predict, then run every format, reconcile, conclude.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "cost/advise.h"
#include "engine/engine.h"
#include "record/record.h"

namespace trimeter {

struct CompareOptions {
  EngineOptions engine;              // model and device; its format, calibration and shared parts are chosen here
  std::vector<std::string> formats;  // the first is the baseline
  Objective objective = Objective::kThroughput;
  int prompts = 16;       // of the evaluation set, taken in turn from its categories
  int max_tokens = 64;    // new tokens of each
  int rounds = 9;         // of the throughput meter, at least 5
  int threads = 0;        // 0: one per CPU
  std::string hardware;   // a profile's file; empty: this machine's own, measured if there is none yet
  std::string eval_data;  // lab/evaluation_set.h
  bool quality = true;
  std::string version, commit;  // of this program, for the record
};

struct CompareEvents {
  std::function<void(std::string_view what, int64_t done, int64_t total)> on_progress;
  std::function<void(const Record&)> on_predicted;  // after the predictions, before the first measurement
};

// The throughput workload is the prompts at once, greedy, exactly max_tokens each. Quality: the same prompts answered
// greedily, and the passages teacher-forced (of one longer than the model, its first max_model_len tokens: a warning
// says of how many). Throws Error for what can't run before a weight is read, wherever that can be known before.
Record run_compare(const CompareOptions& options, const CompareEvents& events);

}  // namespace trimeter
