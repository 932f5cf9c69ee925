// Time of one step on a machine: a roofline per operation, with the terms kept apart.
//   linear:    max(read, multiply) + (1 - overlap) * min(read, multiply), with read = weight bytes / read bandwidth and
//              multiply = the scheme's kernel on one thread's rows; + preparing (rounding, quantizing) one thread's
//              tokens
//   attention: max(KV bytes / read bandwidth, kernel time of one thread's (token, KV head) pairs)
//   others:    bytes * seconds per byte, one thread's tokens
//   and barriers, sampling, and the fixed cost of a layer and of a step
// On a card, steps with prompt tokens are launched kernel by kernel, while the card computes what was launched before:
//   step = max(all of the above, launched step + layers * launched layer of the scheme)
// Decoding is a graph, of as many rows as there is one for: what its padding computes counts. What the profile has
// measured of whole stages (a layer, and all behind the last one) says what their operations take together beyond the
// sum of them, or less: stage_excess.h.
// The working set is all weights and the step's KV cache: a step streams through all of it before it comes back. Rows
// are shared in panels of kPanelRows and tokens whole, so a thread's share is rounded up.
#pragma once
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cost/hardware.h"
#include "cost/stage_excess.h"
#include "spec/ledger.h"

namespace trimeter {

enum class Stage { kBefore, kLayers, kHead };  // the embedding; the layers; final norm, lm_head, choice

struct OpTime {
  std::string name;  // the ledger's
  int64_t count = 1;
  double seconds = 0;       // of all occurrences, as the next two
  double bandwidth_s = 0;   // had it only to move its bytes
  double arithmetic_s = 0;  // had it only to compute
  Stage stage = Stage::kBefore;
};

struct StepTime {
  double seconds = 0;
  std::map<std::string, double> terms;                       // by what it is spent on: the k...Term names below
  double bandwidth_s = 0, arithmetic_s = 0, overhead_s = 0;  // by what bounds it
  double layers_overhead_s = 0, head_overhead_s = 0;         // of overhead_s: what their operations lack
  std::vector<OpTime> ops;  // `terms`, the three by what bounds it, and `ops` with the overhead each sum to `seconds`
  double operations_s(Stage stage) const;
};

inline constexpr const char* kWeightsBandwidthTerm = "weights: bandwidth";
inline constexpr const char* kWeightsArithmeticTerm = "weights: arithmetic";
inline constexpr const char* kLmHeadBandwidthTerm = "lm_head: bandwidth";
inline constexpr const char* kLmHeadArithmeticTerm = "lm_head: arithmetic";
inline constexpr const char* kAttentionTerm = "attention";
inline constexpr const char* kElementwiseTerm = "elementwise";
inline constexpr const char* kOverheadTerm = "barriers and overhead";

// Of forward(): one after each stage whose result another thread's stage reads.
inline constexpr int kBarriersPerLayer = 10;

class StepTimer {
 public:
  // Model and hardware are kept by reference. Throws Error(kBadArgument) if the profile has neither a rate of one of
  // the format's kernels nor the peak of its executed arithmetic. max_num_seqs: of an engine on a card, whose graphs
  // have no more rows.
  StepTimer(const ModelSpec& model, const Format& format, const HardwareProfile& hardware, Target target, int threads,
            int64_t max_num_seqs = std::end(kGpuGraphRows)[-1]);
  StepTime time(const StepShape& step) const;

 private:
  std::optional<int64_t> graph_rows(const StepShape& step) const;
  double kv_bytes_of_layer(const StepShape& step) const;
  OpTime linear(const OpCost& op, double bytes_per_s, double& prepare_s) const;
  OpTime attention(const OpCost& op, double bytes_per_s, const StepShape& step) const;
  OpTime elementwise(const OpCost& op) const;
  double largest_share(int64_t n_units) const;
  double launching_s() const;
  static double take_excess(StepTime& step, Stage stage, double seconds);

  const ModelSpec& model_;
  const Format format_;
  const HardwareProfile& hardware_;
  Target target_;
  int threads_;
  int64_t max_num_seqs_;
  int64_t weights_bytes_;
  StageExcess excess_;
  double launched_layer_s_ = 0;
  double kv_element_s_ = 0;
};

}  // namespace trimeter
