// For tests: a model with a KV pool, and sequences driven through Forward in any chunks, order and blocks.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "containers/gguf_mixture.h"
#include "io/hf_config.h"
#include "model/forward.h"

namespace trimeter {

inline std::filesystem::path source_dir() {
  const char* dir = std::getenv("TRIMETER_SOURCE_DIR");
  return dir ? dir : ".";
}

// The schemes of a format in a model with nearest codes: for tests of what does not depend on the algorithm.
inline Format rtn_format(const Format& row, const ModelSpec& model) {
  Format rtn = with_gguf_mixture(row, model);
  if (rtn.algorithm != "none") rtn.algorithm = "amax";
  return rtn;
}
// With the few tokens that the scales of static activations need.
inline LoadOptions rtn_options() {
  LoadOptions options;
  options.calibration = {{5, 17, 42, 99, 7, 23, 64, 3}};
  return options;
}

struct HarnessSeq {
  std::vector<int32_t> tokens;
  std::vector<int32_t> blocks;  // block table; long enough for all tokens
  int32_t n_done = 0;
};

class ForwardHarness {
 public:
  ForwardHarness(const ModelWeights& weights, const EngineLimits& limits, ThreadPool& pool, Isa isa, int64_t n_blocks)
      : forward(weights, limits, pool, isa),
        limits_(limits),
        blocks_(kv_layout(weights.spec, weights.format, limits.block_size).block_bytes() * n_blocks),
        kv_{kv_layout(weights.spec, weights.format, limits.block_size), blocks_.data()} {}

  // One step: chunks[i].second new tokens of each given sequence. Appends the logits of every new row to logits[i].
  void step(const std::vector<std::pair<HarnessSeq*, int32_t>>& chunks, std::vector<std::vector<float>*> logits) {
    std::vector<int32_t> tokens;
    std::vector<StepSeq> seqs;
    for (const auto& [seq, n] : chunks) {
      seqs.push_back({static_cast<int32_t>(tokens.size()), n, seq->n_done, seq->blocks.data()});
      tokens.insert(tokens.end(), seq->tokens.begin() + seq->n_done, seq->tokens.begin() + seq->n_done + n);
      seq->n_done += n;
    }
    forward.run({tokens, seqs}, kv_);
    for (size_t i = 0; i < seqs.size(); ++i)
      for (int32_t begin = 0; begin < seqs[i].n_rows; begin += limits_.max_num_seqs) {
        std::vector<int32_t> rows(static_cast<size_t>(std::min(limits_.max_num_seqs, seqs[i].n_rows - begin)));
        std::iota(rows.begin(), rows.end(), seqs[i].row_begin + begin);
        const std::span<const float> got = forward.logits(rows);
        logits[i]->insert(logits[i]->end(), got.begin(), got.end());
      }
  }

  // Logits [n, vocab] of one sequence in chunks of at most `chunk` tokens.
  std::vector<float> score(HarnessSeq seq, int32_t chunk) {
    std::vector<float> logits;
    const auto n = static_cast<int32_t>(seq.tokens.size());
    while (seq.n_done < n) step({{&seq, std::min(chunk, n - seq.n_done)}}, {&logits});
    return logits;
  }

  const KvView& kv() const { return kv_; }

  Forward forward;

 private:
  EngineLimits limits_;
  Buffer blocks_;
  KvView kv_;
};

}  // namespace trimeter
