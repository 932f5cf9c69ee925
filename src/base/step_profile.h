// Where the time of an engine's steps went, by operation.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace trimeter {

struct OperationTime {
  std::string name;  // the ledger's names (spec/ledger.h), with + between where one stage does several; "prepare",
                     // which the ledger counts in its linear; "sampling"; "rest"
  int64_t n_calls = 0;
  double seconds = 0;
};

struct StepProfile {
  int64_t n_steps = 0;
  double seconds = 0;                     // in steps
  std::vector<OperationTime> operations;  // in the order in which they run; they sum to `seconds`
};

struct EngineProfile {
  StepProfile prefill, decode;  // steps that had any prompt token, steps that had none
};

}  // namespace trimeter
