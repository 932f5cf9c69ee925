// model/forward.h on a card: the same stages, the residual in f32, inputs of linears rounded or quantized by the same
// formulas. A step is enqueued and not waited for; only logits() and draw() wait, for what they bring to the
// host. Steps of one row per sequence (decoding) run as two graphs, recorded at a few sizes and padded to the next one.
#pragma once
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "model/cuda/device_weights.h"
#include "model/forward.h"
#include "spec/ledger.h"

namespace trimeter::cuda {

// What is asked of a row of logits. As it stands: the largest.
struct RowDraw {
  DrawRow parameters;                  // row and seen are CudaForward's
  std::span<const int32_t> penalised;  // tokens, any number of times; of those that have a penalty other than 1
  int32_t n_logprobs = -1;             // -1: none; at most kMostDrawLogprobs
};

class CudaForward {
 public:
  // All scratch is taken here: gpu_scratch() of the ledger, and overhead_bytes() for a card.
  CudaForward(const DeviceWeights& weights, const EngineLimits& limits);

  // kv.blocks is the device's. Rows, which ascend, and limits as Forward's.
  void run(const StepBatch& batch, const KvView& kv);
  std::span<const float> logits(std::span<const int32_t> rows);
  // The token of each row, -1 where a logit is not finite. draws: one for each row, or none for the largest of all.
  // Once for a row of a step. Anything else than the largest is asked for of at most kMostDrawVocab tokens.
  std::span<const int32_t> draw(std::span<const int32_t> rows, std::span<const RowDraw> draws);
  // Of the last draw(): [kMostDrawLogprobs + 1] for each row that asked for them, in order.
  const DrawLogprob* logprobs() const { return host_draws_.logprobs; }

  // Records the graphs of every size for this cache now; otherwise each is recorded when it is first needed. The device
  // memory that the driver took for them is added to graph_bytes().
  void record_graphs(const KvView& kv);
  int64_t graph_bytes() const { return graph_bytes_; }
  int64_t activation_bytes() const { return scratch_.size(); }
  int64_t overhead_bytes() const { return rope_.size() + tables_.size(); }

  // The stages of a step, of what lies in the activations now: for whoever times them apart from each other.
  void enqueue_layers(int begin, int end, const StepView& step, const KvView& kv);
  void enqueue_logits(const int32_t* rows, int64_t n_rows);  // rows: the device's; null: 0, 1, ...
  const Stream& stream() const { return stream_; }

 private:
  struct Batch {  // where a step's rows lie in `inputs`, on the device or, pinned, on the host
    int32_t *tokens, *positions, *seq_of_row, *row_begin, *logit_rows, *largest;
  };
  struct Draws {  // likewise, of what is asked of logits
    DrawRow* rows;
    LogprobRow* logprob_rows;
    uint32_t* seen;
    DrawLogprob* logprobs;
  };
  Batch batch_in(int32_t* inputs) const;
  Draws draws_in(std::byte* room) const;
  bool is_decode(const StepBatch& batch) const;
  int n_layers() const { return static_cast<int>(weights_.layers.size()); }
  void describe(const StepBatch& batch, int64_t n_padded);
  void upload();
  StepView view_of(int64_t n_rows, int64_t n_seqs, int64_t max_rows_per_seq, int64_t max_context) const;

  void enqueue_embedding(const StepView& step);
  void enqueue_layer(int index, const StepView& step, const KvView& kv);
  DeviceInput input_of(const DeviceLinearWeight& weight, int64_t n_rows) const;
  // The norm of the residual, prepared, or raw where the linear's kernel takes it so. rows: as enqueue_logits.
  DeviceInput norm(const DeviceLinearWeight& weight, const DeviceBuffer& gain, const int32_t* rows, int64_t n_rows);
  void multiply(const DeviceLinearWeight& weight, const DeviceInput& x, bool accumulate, float* y);
  // A step in two: the host launches the second part while the card computes the first.
  struct StepGraph {
    Graph first, rest;
    void launch(const Stream& stream) const {
      first.launch(stream);
      rest.launch(stream);
    }
  };
  StepGraph& graph_for(int64_t n_rows, const KvView& kv);
  void have_logits(std::span<const int32_t> rows);
  int64_t logit_row(int32_t row) const;  // where have_logits() has put them
  void enqueue_draws(std::span<const int32_t> rows, std::span<const RowDraw> draws);

  const DeviceWeights& weights_;
  const ModelSpec& spec_;
  const EngineLimits limits_;
  const GpuScratch sizes_;
  Stream stream_;
  DeviceBuffer rope_, tables_, scratch_;
  int64_t table_stride_;
  float *cos_, *sin_, *residual_, *attention_, *projection_, *scales_, *logits_;
  std::byte *values_, *workspace_;
  Batch device_{}, host_{};
  Draws device_draws_{}, host_draws_{};
  PinnedBuffer host_inputs_, host_tables_, host_draw_room_, host_logits_;
  Event uploaded_;

  std::map<int64_t, StepGraph> graphs_;  // by the rows they are for
  const std::byte* graphs_kv_ = nullptr;
  int64_t graph_bytes_ = 0;

  int64_t n_rows_ = 0;                   // of the step
  bool logits_of_all_rows_ = false;      // the step's graph has made them
  std::vector<int32_t> rows_of_logits_;  // otherwise: those that are there
};

}  // namespace trimeter::cuda
