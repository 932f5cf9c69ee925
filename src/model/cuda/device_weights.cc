#include "model/cuda/device_weights.h"

#include "base/error.h"
#include "base/gpu.h"
#include "base/integers.h"
#include "containers/gguf_model.h"
#include "containers/stored_quantization.h"
#include "model/float_tensor.h"
#include "model/quantize.h"
#include "schemes/gpu_plan.h"
#include "spec/ledger.h"

namespace trimeter::cuda {
namespace {

void check_runs_here(const std::filesystem::path& model, const ModelSpec& spec, const Format& format,
                     int compute_capability) {
  if (is_gguf(model))
    throw Error(Errc::kUnsupported, "{}: there are no CUDA kernels for GGUF files: --device cpu runs it",
                model.string());
  check_format_fits(spec, format, Target::gpu(compute_capability));
  if (!spec.tie_word_embeddings && format.scheme_of_module.count(std::string(kEmbeddingModule)) > 0)
    throw Error(Errc::kUnsupported, "{}: there is no CUDA kernel for an embedding held in codes", model.string());
  if (is_stored(format) && needs_calibration(format))
    throw Error(Errc::kUnsupported,
                "{}: on a card the scales of an fp8 KV cache must lie in a checkpoint that is quantized already: "
                "--device cpu calibrates them",
                model.string());
}

// What the ledger says, and of each layer's four linears values, scales, zero points, input order and bias, and of two
// norms, each begun at a multiple of the alignment; and scales by block.
int64_t arena_bytes(const ModelSpec& spec, const Format& format, int compute_capability) {
  int64_t bytes = weight_ledger(spec, format).weights_bytes + (spec.n_layers + 1) * 22 * DeviceArena::kAlignment;
  std::vector<LinearSpec> linears = spec.linears();
  linears.push_back(spec.lm_head());
  for (const LinearSpec& linear : linears) {
    const SchemeInfo& scheme = linear_scheme(spec, format, linear).info();
    bytes += ceil_div(gpu_block_scales_bytes(scheme, compute_capability, linear.shape), DeviceArena::kAlignment) *
             DeviceArena::kAlignment;
  }
  return bytes;
}

class Uploader : public WeightSink {
 public:
  Uploader(DeviceWeights& weights, ThreadPool& pool) : weights_(weights), pool_(pool) {}

  void layer(int index, CanonicalLayer from) override {
    TM_CHECK(index == static_cast<int>(weights_.layers.size()), "layer {} after {}", index, weights_.layers.size());
    DeviceLayer layer;
    layer.input_norm = upload(from.input_norm, "norm");
    layer.post_attention_norm = upload(from.post_attention_norm, "norm");
    layer.qkv = upload(std::move(from.qkv));
    layer.attention_out = upload(std::move(from.attention_out));
    layer.gate_up = upload(std::move(from.gate_up));
    layer.down = upload(std::move(from.down));
    layer.kv_scale = from.kv_scale;
    weights_.layers.push_back(std::move(layer));
  }
  void final_norm(std::vector<float> gain) override { weights_.final_norm = upload(gain, "norm"); }
  void lm_head(CanonicalLinear weight) override { weights_.lm_head = upload(std::move(weight)); }

  void embedding(const TensorView& rows) override {
    const ModelSpec& spec = weights_.spec;
    const DType held_as = dense_dtype(spec, weights_.format);
    const int64_t row_bytes = spec.hidden_size * size_of(held_as);
    weights_.embedding = weights_.arena.take(spec.vocab_size * row_bytes, "embedding");
    if (rows.dtype == held_as) return copy(rows.bytes.data(), weights_.embedding);
    Buffer converted(weights_.embedding.size(), "embedding");
    pool_.run([&](int thread) {
      std::vector<float> row(static_cast<size_t>(spec.hidden_size));
      const auto [begin, end] = pool_.share(spec.vocab_size, thread);
      for (int64_t r = begin; r < end; ++r) {
        floats_from(rows.bytes.data() + r * spec.hidden_size * size_of(rows.dtype), rows.dtype, spec.hidden_size,
                    row.data());
        floats_to(row.data(), spec.hidden_size, held_as, converted.data() + r * row_bytes);
      }
    });
    copy(converted.data(), weights_.embedding);
  }

 private:
  void copy(const void* from, const DeviceBuffer& to) {
    TM_CUDA_CHECK(
        cudaMemcpyAsync(to.data(), from, static_cast<size_t>(to.size()), cudaMemcpyHostToDevice, stream_.get()));
    stream_.synchronize();
  }
  DeviceBuffer upload(const std::vector<float>& values, const char* what) {
    DeviceBuffer buffer = weights_.arena.take(static_cast<int64_t>(values.size() * sizeof(float)), what);
    if (!values.empty()) copy(values.data(), buffer);
    return buffer;
  }
  DeviceLinearWeight upload(CanonicalLinear from) {
    return {upload_linear(*from.scheme, from.weight, weights_.compute_capability, stream_.get(), weights_.arena),
            upload(from.bias, "bias")};
  }

  DeviceWeights& weights_;
  ThreadPool& pool_;
  Stream stream_;
};

}  // namespace

const void* DeviceWeights::embedding_rows() const {
  return spec.tie_word_embeddings ? lm_head.linear->rows() : embedding.data();
}

MemoryBreakdown DeviceWeights::memory() const {
  MemoryBreakdown memory;
  memory.norm_bytes = final_norm.size();
  for (const DeviceLayer& layer : layers) {
    memory.norm_bytes += layer.input_norm.size() + layer.post_attention_norm.size();
    for (const DeviceLinearWeight* weight : {&layer.qkv, &layer.attention_out, &layer.gate_up, &layer.down}) {
      memory.linear_bytes += weight->linear->bytes().total();
      memory.scales_bytes += weight->linear->bytes().scales;
      memory.norm_bytes += weight->bias.size();
    }
  }
  memory.embedding_bytes = lm_head.linear->bytes().total() + embedding.size();
  memory.weights_bytes = memory.linear_bytes + memory.embedding_bytes + memory.norm_bytes;
  return memory;
}

DeviceWeights load_device_weights(const std::filesystem::path& model, const ModelSpec& spec, const Format& format,
                                  const LoadOptions& options, ThreadPool& pool) {
  DeviceWeights weights;
  weights.spec = spec;
  weights.format = format;
  weights.compute_capability = current_gpu().compute_capability;
  check_runs_here(model, spec, format, weights.compute_capability);
  weights.arena = DeviceArena(arena_bytes(spec, format, weights.compute_capability), "weights");
  Uploader uploader(weights, pool);
  stream_weights(model, spec, format, options, pool, uploader);
  if (spec.tie_word_embeddings && weights.embedding_rows() == nullptr)
    throw Error(Errc::kUnsupported, "{}: there is no CUDA kernel for an embedding held in codes", model.string());
  return weights;
}

}  // namespace trimeter::cuda
