// The prediction: the three meters' figures from a ModelSpec, a format, a machine and a workload, without loading a
// weight.
#pragma once
#include "cost/hardware.h"
#include "cost/workload.h"
#include "record/record.h"
#include "spec/ledger.h"

namespace trimeter {

struct PredictInput {
  const ModelSpec& model;
  Format format;
  const HardwareProfile& hardware;
  EngineLimits limits;
  Workload workload;
  int64_t device_memory_bytes = 0;
  double utilization = 0.9;
  Target target = Isa::kScalar;
  int threads = 1;
  int64_t runtime_bytes = 0;  // of a card: spec/memory_fit.h
};

// Rates as the throughput meter defines them:
//   generation_tokens_per_s  tokens generated / time of the whole workload, prefill included
//   decode_tokens_per_s      tokens generated in steps without a prompt token / time of those steps
//   prompt_tokens_per_s      prompt tokens / time of the steps that had any
//   ttft_s, itl_s            medians over requests, and over gaps between two tokens of a request
// Blocks and memory are the ledger's. `binds` is what takes the largest share of the time; "capacity" if requests had
// to wait for blocks. Throws Error(kNoMemory) as blocks_that_fit(), kBadArgument as simulate_schedule().
RecordPredicted predict(const PredictInput& input);

}  // namespace trimeter
