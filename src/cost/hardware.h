// A hardware profile: what a machine can do, measured (by `trimeter hardware`) or from a datasheet, as JSON.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace trimeter {

struct BandwidthPoint {
  int64_t working_set_bytes;
  int threads;
  double bytes_per_s;
};

// How fast this machine's kernel of one scheme multiplies weights that are in cache: the dequantization cost is in it.
struct KernelRate {
  std::string scheme, isa;
  int64_t n_tokens;          // batch of the product
  double seconds_per_weight; // one thread, per weight per token batch: time / (out * in)
};

struct HardwareProfile {
  static constexpr int kSchema = 1;
  std::string name, kind = "cpu", source = "measured";  // or "datasheet"
  std::string isa, measured_at;
  int threads = 1;
  int64_t memory_bytes = 0, l2_bytes = 0, l3_bytes = 0;
  std::vector<BandwidthPoint> read_bandwidth;  // by thread count and by working set
  std::map<std::string, double> rates;         // ops/s of all threads by arithmetic: "bf16", "int8", "fp32"; peaks in registers
  std::vector<KernelRate> kernels;
  double attention_seconds_per_kv_element = 0;  // one thread, per (query head, cached token, channel), K and V together
  double elementwise_seconds_per_element = 0;   // one thread: norm, rope, activation, rounding of inputs
  double barrier_s = 0;                         // one barrier of the team
  double step_overhead_s = 0;                   // per step: scheduling, sampling, bookkeeping
  double layer_overhead_s = 0;                  // per layer, beside its barriers

  // Bandwidth of `threads` over a working set of this size, interpolated.
  double read_bandwidth_bytes_per_s(int n_threads, int64_t working_set_bytes) const;
};

HardwareProfile read_hardware_profile(const std::filesystem::path& path);
std::string to_json(const HardwareProfile& profile);

}  // namespace trimeter
