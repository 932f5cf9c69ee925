// The record: what a run predicted, measured and concluded, schema 1. It is the thin waist between running and
// reporting: every report is rendered from it alone. Field names are a contract (docs/record.schema.json).
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/memory_breakdown.h"

namespace trimeter {

// A measured quantity with all its samples, in the order they were taken.
struct Sampled {
  std::vector<double> samples;
  double median = 0, mad = 0;
  double ci95_low = 0, ci95_high = 0;
  static Sampled of(std::vector<double> samples);  // statistics of base/stats.h; of no samples: all zero
  bool operator==(const Sampled&) const = default;
};

struct RecordModel {
  std::string name, architecture, dtype;
  int64_t parameters = 0;
  bool operator==(const RecordModel&) const = default;
};

// How fast the machine was while it was measured, as shares of what its profile says.
struct RecordSpeed {
  Sampled arithmetic, bandwidth;
  // Share of each round in which a thread of the team was ready to run and waited for a CPU; absent where not counted.
  std::optional<Sampled> cpu_wait;
  bool operator==(const RecordSpeed&) const = default;
};

struct RecordHardware {
  std::string name, kind = "cpu", isa;
  int threads = 0;
  int64_t memory_bytes = 0;
  double read_bandwidth_bytes_per_s = 0;
  std::map<std::string, double> rates;  // operations per second by arithmetic: "bf16", "int8", "fp32"
  std::string profiled_at;              // UTC; empty if the profile does not say
  std::optional<RecordSpeed> speed;     // probed between the rounds of the throughput meter
  bool operator==(const RecordHardware&) const = default;
};

struct RecordWorkload {
  int64_t prompts = 0;
  int64_t prompt_tokens = 0;  // of all prompts together
  int64_t max_tokens = 0;
  double temperature = 0;
  int64_t device_memory_bytes = 0;
  double utilization = 0;
  int64_t block_size = 0, max_model_len = 0;
  int64_t max_num_seqs = 0, max_num_batched_tokens = 0;
  int64_t rounds = 0;
  bool operator==(const RecordWorkload&) const = default;
};

struct RecordKernel {
  std::string requested, executed;
  std::vector<std::string> lines;
  bool operator==(const RecordKernel&) const = default;
};

struct RecordPredicted {
  double generation_tokens_per_s = 0;
  double decode_tokens_per_s = 0, prompt_tokens_per_s = 0, ttft_s = 0, itl_s = 0;
  int64_t kv_blocks = 0;
  MemoryBreakdown memory;
  std::string binds;                    // "bandwidth", "arithmetic", "overhead" or "capacity"
  std::string executed;                 // the arithmetic of the decoder linears that the prediction counted with
  std::map<std::string, double> terms;  // seconds of the whole workload by what they are spent on
  bool operator==(const RecordPredicted&) const = default;
};

struct RecordKld {
  double mean = 0, p50 = 0, p90 = 0, p95 = 0, p99 = 0, p999 = 0, max = 0;
  bool operator==(const RecordKld&) const = default;
};

struct RecordOutput {
  std::string prompt, text;
  std::optional<int64_t> first_divergence;  // index of the first token that differs from the baseline's; absent: none
  bool garbage = false;
  std::string garbage_reason;
  bool operator==(const RecordOutput&) const = default;
};

struct RecordQuality {
  double perplexity = 0, perplexity_se = 0;
  double perplexity_ratio = 1, perplexity_ratio_se = 0;  // paired with the baseline
  int64_t tokens_scored = 0;
  RecordKld kld;
  double top1_agreement = 1;
  double delta_p_mean = 0, delta_p_rms = 0;
  int64_t n_garbage = 0;
  std::vector<RecordOutput> outputs;
  bool operator==(const RecordQuality&) const = default;
};

struct RecordMeasured {
  Sampled generation_tokens_per_s, decode_tokens_per_s, prompt_tokens_per_s, ttft_s, itl_s;
  std::optional<Sampled> ratio_to_baseline;  // paired by round; absent for the baseline
  int64_t kv_blocks = 0, kv_cache_tokens = 0, block_bytes = 0;
  MemoryBreakdown memory;
  std::optional<RecordQuality> quality;
  bool operator==(const RecordMeasured&) const = default;
};

// What the bytes and operations of a workload alone would allow (cost/step_floor.h).
struct RecordFloor {
  double read_bandwidth_bytes_per_s = 0;  // over as many bytes as the weights have, between the rounds
  double prompt_tokens_per_s = 0, decode_tokens_per_s = 0;
  double prompt_bytes = 0, prompt_operations = 0;  // of all steps that have a prompt token
  // Of a step of those that have none, the mean: toward the end fewer requests are left.
  double decode_tokens = 0, decode_bytes = 0, decode_operations = 0;
  std::string prompt_binds, decode_binds;  // "bandwidth" or "arithmetic"
  bool operator==(const RecordFloor&) const = default;
};

struct RecordOperation {
  std::string name;  // base/step_profile.h
  double calls = 0;
  Sampled seconds;                   // one of each round
  double bytes = 0, operations = 0;  // the floor's
  double floor_s = 0;                // what those alone would allow
  bool operator==(const RecordOperation&) const = default;
};

struct RecordPhase {
  double steps = 0;  // of a round
  Sampled seconds;   // one of each round: the operations' sum
  std::vector<RecordOperation> operations;
  bool operator==(const RecordPhase&) const = default;
};

// Where the time went: all steps that had a prompt token together, and one step of those that had none.
struct RecordProfile {
  RecordPhase prompt;
  std::optional<RecordPhase> decode;  // absent if nothing was decoded
  bool operator==(const RecordProfile&) const = default;
};

struct RecordRun {
  std::string format;
  std::optional<int64_t> batch;  // requests at once, where a record has several; absent: workload.prompts
  RecordKernel kernel;
  RecordPredicted predicted;
  std::optional<RecordMeasured> measured;
  std::optional<RecordFloor> floor;
  std::optional<RecordProfile> profile;
  bool operator==(const RecordRun&) const = default;
};

struct RecordReconciliation {
  std::string format, meter;  // meter: "generation_tokens_per_s", "kv_blocks", ...
  double predicted = 0, measured = 0, ratio = 0;
  bool within_band = false;
  double band = 0;          // relative: 0.25 means +-25%
  std::string explanation;  // of a miss: a term, or "unexplained"
  bool operator==(const RecordReconciliation&) const = default;
};

struct RecordOrdering {
  std::vector<std::string> predicted, measured;  // formats, best first
  bool holds = false;
  std::string explanation;
  bool operator==(const RecordOrdering&) const = default;
};

struct RecordVerdict {
  std::string objective, format, binding_constraint;
  std::string because;  // a line for the choice, and one for each other format
  bool operator==(const RecordVerdict&) const = default;
};

struct Record {
  static constexpr int kSchema = 1;
  std::string version, commit;              // of trimeter
  std::string started;                      // UTC, ISO 8601
  std::string predicted_at, measured_from;  // UTC; the first is never later than the second
  RecordModel model;
  RecordHardware hardware;
  RecordWorkload workload;
  std::vector<RecordRun> runs;               // the first is the baseline
  std::optional<int64_t> kv_buffer_bytes;    // measured: of the one buffer in which the formats' pools take turns
  std::optional<RecordQuality> noise_floor;  // the baseline against itself at another batch size
  std::vector<RecordReconciliation> reconciliation;
  std::map<std::string, RecordOrdering> ordering;  // by meter
  std::optional<RecordVerdict> verdict;
  bool operator==(const Record&) const = default;
};

// Throws Error(kBadArgument) naming the field if a number is infinite or not a number: JSON has neither.
std::string to_json(const Record& record);
// Throws Error(kBadFile) naming `path` and the field.
Record record_from_json(const std::string& json, const std::string& path);

}  // namespace trimeter
