// Throughput and latency alone: formats side by side over several batches, prefill and decode apart, each beside the
// floor of its bytes and operations.
#pragma once
#include <string>
#include <vector>

#include "engine/engine.h"
#include "lab/compare.h"

namespace trimeter {

struct BenchOptions {
  EngineOptions engine;              // max_model_len 0: what the workload takes
  std::vector<std::string> formats;  // as CompareOptions'
  std::vector<int64_t> batches = {1};
  int prompt_tokens = 512, max_tokens = 128;  // of each request
  int rounds = 5;
  bool profile = false;  // with the time by operation; on the CPU
  int threads = 0;
  std::string hardware;
  std::string eval_data;  // lab/evaluation_set.h: texts for static scales
  std::string version, commit;
};

// Prompts are random tokens. Formats that are made here get their nearest codes: how fast a format is does not depend
// on which codes it has, and searching for the best takes long. All formats are loaded, then measured in turn, batch by
// batch. The record has a run for each format and batch, in that order, each with its floor; predictions come first.
Record run_bench(const BenchOptions& options, const CompareEvents& events);

}  // namespace trimeter
