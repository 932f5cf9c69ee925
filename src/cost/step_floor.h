// What a step would take if nothing but its bytes and its operations counted:
//   floor = max(bytes / read bandwidth, sum over arithmetics of operations / dot rate)
// Bytes and operations are the ledger's. Of a share of it nothing is left to be gained but by moving or computing less.
#pragma once
#include <string>
#include <vector>

#include "cost/hardware.h"
#include "record/record.h"
#include "spec/ledger.h"

namespace trimeter {

struct OpFloor {
  std::string name;  // the ledger's
  double bytes = 0, operations = 0;
  double bandwidth_s = 0, arithmetic_s = 0;
  double seconds() const { return bandwidth_s > arithmetic_s ? bandwidth_s : arithmetic_s; }
};

struct StepFloor {
  double bytes = 0;          // weights and KV cache
  double operations = 0;     // of linears and attention
  double bandwidth_s = 0;    // at the bandwidth of a working set of all weights and the step's cache
  double arithmetic_s = 0;   // at the peak rate of what the kernels execute; attention is fp32
  std::vector<OpFloor> ops;  // each name once, all occurrences; they sum to the above
  double seconds() const { return bandwidth_s > arithmetic_s ? bandwidth_s : arithmetic_s; }
  const char* binds() const { return bandwidth_s > arithmetic_s ? "bandwidth" : "arithmetic"; }
};

// With all threads of the profile. Throws Error(kBadArgument) naming an arithmetic that the profile has no rate of.
StepFloor step_floor(const ModelSpec& model, const Format& format, const HardwareProfile& hardware, Target target,
                     const StepShape& step);

// Of `batch` requests in the steps that the scheduler makes of them, with KV blocks for all. Those that have a prompt
// token are the prompts' (the first requests decode in them while others still wait); decoding is the mean of the rest.
struct WorkloadFloor {
  RecordFloor record;
  std::vector<OpFloor> prompt, decode;  // of all steps with a prompt token; of a step without
};
WorkloadFloor workload_floor(const ModelSpec& model, const Format& format, const HardwareProfile& hardware,
                             Target target, const EngineLimits& limits, int64_t batch, int64_t prompt_tokens,
                             int64_t max_tokens);

}  // namespace trimeter
