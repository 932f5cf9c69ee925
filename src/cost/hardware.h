// A hardware profile: what a machine can do, measured (by `trimeter hardware`) or from a datasheet, as JSON.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/cpu.h"

namespace trimeter {

// All `threads` together read `bytes_per_s` while they stream again and again through `working_set_bytes`.
struct BandwidthPoint {
  int64_t working_set_bytes = 0;
  int threads = 1;
  double bytes_per_s = 0;
};

// How fast one thread multiplies weights of a scheme, decoding included, all other threads busy:
//   multiply: out * (in * seconds_per_weight + seconds_per_output)   one call with n_tokens inputs, weights in cache
//   prepare:  n_tokens * in * seconds_per_input                       rounding or quantizing the inputs; on a card
//                                                                     fetching them
//   overlap:  how far reading weights from beyond the cache hides behind multiplying, 0 to 1:
//             time = max(read, multiply) + (1 - overlap) * min(read, multiply)
struct KernelRate {
  std::string scheme, isa;
  int64_t n_tokens = 1;
  double seconds_per_weight = 0;
  double seconds_per_output = 0;
  double seconds_per_input = 0;
  double overlap = 1;
  double seconds_per_call = 0;  // on a card, beside the multiplying: what a launch takes that grows with nothing
};

// What something takes in a step of so many rows. Between two of them it is linear, beyond the ends constant.
struct RowTime {
  int64_t n_rows = 1;
  double seconds = 0;
};
double seconds_at(const std::vector<RowTime>& times, int64_t n_rows);

// On a card, a layer of a model between others of it, from its first kernel to the next layer's: the engine's own
// kernels as a graph has them one behind the other, all that waiting for each other takes included. Each sequence has
// n_new of the step's rows (1: decoding) and n_context tokens before them. In the scheme are its four linears.
struct LayerTimes {
  std::string scheme;
  int64_t hidden_size = 0, intermediate_size = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0;
  int64_t n_new = 1, n_context = 0;
  std::vector<RowTime> times;
};
// The same of what follows the last layer: norm, lm_head and the greedy choice, of every row.
struct HeadTimes {
  std::string scheme;  // of lm_head
  int64_t hidden_size = 0, vocab_size = 0;
  std::vector<RowTime> times;
};

struct HardwareProfile {
  static constexpr int kSchema = 1;
  std::string name, kind = "cpu", source = "measured";  // or "datasheet"
  std::string isa, measured_at;
  std::string build;                       // of the program that measured: its kernels' rates are in here
  int threads = 1, n_multiprocessors = 0;  // a card's; 0: not known
  int64_t memory_bytes = 0, l2_bytes = 0, l3_bytes = 0;
  std::vector<BandwidthPoint> read_bandwidth;  // by thread count and by working set; never empty
  std::map<std::string, double> rates;  // operations/s of all threads by arithmetic: "bf16", "int8", "fp32"; peaks
  std::vector<KernelRate> kernels;      // empty on a datasheet: then the peak rates bound a product
  // One thread, attention of one token and one KV head whose `group` query heads see n_context tokens:
  //   seconds_per_call + n_context * head_dim * (seconds_per_kv_element + group * seconds_per_query_element)
  // the second by the KV cache's dtype ("BF16", "F8_E4M3"); none on a datasheet
  double attention_seconds_per_call = 0, attention_seconds_per_query_element = 0;
  std::map<std::string, double> attention_seconds_per_kv_element;
  // One thread, by the ledger's name of the operation, per byte that the ledger says it reads and writes. An operation
  // that is not here runs at the read bandwidth.
  std::map<std::string, double> elementwise_seconds_per_byte;
  double sampling_seconds_per_logit = 0;  // greedy choice from a row of logits, one thread of those that share it
  double barrier_s = 0;                   // one barrier of the team; on a card one small kernel of a graph
  double launch_s = 0;                    // on a card: one small kernel outside a graph
  // On a card, what the host takes to launch a step that is no graph, and each of its layers: by the scheme of its
  // linears, and what holds for one that is not there.
  double launched_step_s = 0, launched_layer_s = 0;
  std::map<std::string, double> launched_layers;
  double step_overhead_s = 0;   // per step, beside what is itemised
  double layer_overhead_s = 0;  // per layer, beside its barriers
  // On a card: stages of a step in the shapes of a few models, some of which may be missing.
  std::vector<LayerTimes> layer_times;
  std::vector<HeadTimes> head_times;
  // On a card, by the rows of a decoding step: what the engine's loop takes beside the card's work, scheduling, inputs'
  // way to the card, tokens' way back and what is done with them. Empty: step_overhead_s.
  std::vector<RowTime> step_overheads;
  // Of a card measured before there were layer_times, by a step's rows: layer_overhead_s.
  std::vector<RowTime> layer_overheads;

  // Bandwidth of `n_threads` over a working set of this size. Interpolated: linear in log(bytes/s) over log(bytes)
  // between measured working sets, linear over threads; constant beyond the ends.
  double read_bandwidth_bytes_per_s(int n_threads, int64_t working_set_bytes) const;
  // layer_overheads and step_overheads; layer_overhead_s and step_overhead_s where there are none.
  double layer_overhead_s_of(int64_t n_rows) const;
  double step_overhead_s_of(int64_t n_rows) const;
  // The rate at n_tokens: linear in n_tokens between measured points; beyond the last, times are proportional to it.
  // `found` is false where the profile has no rate of this scheme on this ISA.
  struct Rate {
    bool found = false;
    double seconds_per_weight = 0, seconds_per_output = 0, seconds_per_input = 0, overlap = 1, seconds_per_call = 0;
  };
  Rate kernel_rate(std::string_view scheme, std::string_view isa, int64_t n_tokens) const;
};

// Throws Error(kNotFound / kIo / kBadFile): file, field, wanted, got.
HardwareProfile read_hardware_profile(const std::filesystem::path& path);
HardwareProfile hardware_profile_from_json(const std::string& json, const std::string& path);
std::string to_json(const HardwareProfile& profile);

}  // namespace trimeter
