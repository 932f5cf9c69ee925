// One forward() that walks a ModelSpec: tokens of several sequences in, logits of the rows asked for out.
#pragma once
#include <cstdint>
#include <functional>
#include <span>

#include "base/thread_pool.h"
#include "kernels/kv_layout.h"
#include "model/op_clock.h"
#include "model/weights.h"
#include "spec/ledger.h"

namespace trimeter {

// A step's rows, sequence after sequence.
struct StepSeq {
  int32_t row_begin = 0, n_rows = 0;     // its rows in tokens[]
  int32_t n_context = 0;                 // tokens already in the cache; row i has position n_context + i
  const int32_t* block_table = nullptr;  // blocks for n_context + n_rows tokens
};
struct StepBatch {
  std::span<const int32_t> tokens;
  std::span<const StepSeq> seqs;
};

class Forward {
 public:
  // All scratch is taken here: activation_bytes() of the ledger.
  Forward(const ModelWeights& weights, const EngineLimits& limits, ThreadPool& pool, Isa isa);
  ~Forward();

  // Hidden states of all rows, written to and read from `kv`. At most limits.max_num_batched_tokens rows.
  void run(const StepBatch& batch, const KvView& kv);
  // As run(), through the first layer alone: takes and touches all scratch that run() does.
  void run_first_layer(const StepBatch& batch, const KvView& kv);
  // logits[i, vocab] of rows[i] of the last run: at most limits.max_num_seqs rows a call, as many calls as wanted.
  // The result lies in the scratch until the next call.
  std::span<const float> logits(std::span<const int32_t> rows);
  // Of the same logits the largest one's token for each row, the lowest among equals; -1 where one is not finite.
  std::span<const int32_t> largest(std::span<const int32_t> rows);

  // The layers alone, without embedding and final norm: hidden [n_rows, hidden_size] f32 in and out, in place.
  // Calibration walks a model with it whose `weights` hold one layer at a time (n_layers = 1); batch.tokens only tells
  // the row count.
  void run_layers(const StepBatch& batch, const KvView& kv, float* hidden);

  int64_t activation_high_water_bytes() const;
  int64_t rope_bytes() const;

  // Marks every stage of run() and logits(); null: none. Outlives its use.
  void time_operations(OpClock* clock);

  // Called with the float input of each linear, before it is rounded or quantized: x is [n_tokens, in]. Calibration
  // only.
  using Observer = std::function<void(int layer, LinearRole role, const float* x, int64_t n_tokens, int64_t in)>;
  void observe(Observer observer);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trimeter
