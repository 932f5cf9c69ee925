// Time of one step on a machine: a roofline per operation, with the terms kept apart.
//   linear:    max(weight bytes / read bandwidth(all weights, threads), multiply time of the scheme's kernel / threads)
//              + preparing its inputs / threads
//   attention: max(KV bytes / read bandwidth, kernel time / threads)
//   others:    activation bytes * seconds per byte / threads
//   and barriers, sampling, and the fixed cost of a layer and of a step
// The working set of the weights is all of them: a step streams through the whole model before it comes back.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "cost/hardware.h"
#include "spec/ledger.h"

namespace trimeter {

struct OpTime {
  std::string name;  // the ledger's
  int64_t count = 1;
  double seconds = 0;       // of all occurrences
  double bandwidth_s = 0;   // of all occurrences, had it only to move its bytes
  double arithmetic_s = 0;  // of all occurrences, had it only to compute
};

struct StepTime {
  double seconds = 0;
  std::map<std::string, double> terms;  // sums to `seconds`; keys: the k...Term names below
  std::vector<OpTime> ops;
};

inline constexpr const char* kWeightsBandwidthTerm = "weights: bandwidth";
inline constexpr const char* kWeightsArithmeticTerm = "weights: arithmetic";
inline constexpr const char* kLmHeadBandwidthTerm = "lm_head: bandwidth";
inline constexpr const char* kLmHeadArithmeticTerm = "lm_head: arithmetic";
inline constexpr const char* kAttentionTerm = "attention";
inline constexpr const char* kElementwiseTerm = "elementwise";
inline constexpr const char* kOverheadTerm = "barriers and overhead";

class StepTimer {
 public:
  StepTimer(const ModelSpec& model, const Format& format, const HardwareProfile& hardware, Isa isa, int threads);
  StepTime time(const StepShape& step) const;

 private:
  const ModelSpec& model_;
  const Format& format_;
  const HardwareProfile& hardware_;
  Isa isa_;
  int threads_;
  double weights_bytes_per_s_;
};

}  // namespace trimeter
