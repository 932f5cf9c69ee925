// For tests: a model and a machine of round numbers.
#pragma once
#include "cost/hardware.h"
#include "spec/ledger.h"

namespace trimeter {

inline constexpr int64_t kMi = int64_t{1} << 20;

// One layer: qkv 3 Mi weights, o 1 Mi, gate_up 8 Mi, down 4 Mi; lm_head 1 Mi. 17 Mi weights are 34 MiB in bf16.
inline ModelSpec example_spec() {
  ModelSpec spec{};
  spec.architecture = "LlamaForCausalLM";
  spec.dtype = DType::kBF16;
  spec.hidden_size = spec.vocab_size = 1024;
  spec.n_heads = spec.n_kv_heads = 8;
  spec.head_dim = 128;
  spec.intermediate_size = 4096;
  spec.n_layers = 1;
  spec.max_position_embeddings = 1024;
  spec.rms_norm_eps = 1e-6;
  spec.rope_theta = 10000;
  spec.tie_word_embeddings = true;
  return spec;
}

// One thread that reads 34 GiB/s and does nothing else that takes time.
inline HardwareProfile example_hardware() {
  HardwareProfile hardware;
  hardware.name = "example";
  hardware.isa = "scalar";
  hardware.read_bandwidth = {{kMi, 1, 34.0 * 1024 * kMi}};
  hardware.rates = {{"bf16", 1e30}, {"fp32", 1e30}};
  for (const char* op : {"embed", "rms_norm", "rope", "kv_write", "silu_mul"})
    hardware.elementwise_seconds_per_byte[op] = 0;
  return hardware;
}

}  // namespace trimeter
