// Stages of a step as the engine runs them: the layers of a model one behind the other in one graph, and what follows
// the last one.
#include <algorithm>

#include "base/error.h"
#include "base/integers.h"
#include "model/cuda/forward.h"
#include "probe/cuda/parts.h"
#include "probe/cuda/random_model.h"
#include "probe/cuda/timing.h"
#include "probe/parts.h"

namespace trimeter::cuda {
namespace {

struct LayerShape {
  int64_t hidden, intermediate, n_heads, n_kv_heads, head_dim;
};
// Of 1 to 275 million weights. Powers of two would be the wrong ones: kernels divide a matrix into blocks of rows and
// stretches of their width, which such shapes fill and share out to the last one. Others leave a multiprocessor with
// twice the work of the mean: at 16 rows a layer of 896 x 4864 takes 10% longer than one of 1024 x 4096 and as many
// weights. Where such layers are small or large, two shapes follow closely, so that what is near them is not one's
// luck.
constexpr LayerShape kLayers[] = {{256, 1024, 4, 2, 64},     {768, 4608, 12, 4, 64},
                                  {1024, 3072, 16, 8, 128},    // Qwen3-0.6B's
                                  {1536, 8960, 12, 2, 128},    // Qwen2.5-1.5B's
                                  {2560, 9728, 32, 8, 128},    // Qwen3-4B's
                                  {4096, 14336, 32, 8, 128},   // Llama-3-8B's
                                  {5120, 13824, 40, 8, 128}};  // Qwen2.5-14B's
// Vocabulary and width differ by themselves: product_fit.h. All but the first are more than a cache holds.
constexpr MatShape kHeads[] = {{kSmallVocab, 256}, {64000, 1536}, {201088, 640}, {32000, 4096}, {128256, 3072}};

constexpr int64_t kDecodeContext = 128;
constexpr int64_t kPromptRows[] = {32, 128, 512, 2048}, kPromptTokens = 32;

constexpr EngineLimits kLimits{.max_model_len = 4096,
                               .max_num_seqs = kMostDecodeRows,
                               .max_num_batched_tokens = 2048,
                               .block_size = ProbeStep::kBlockSize};

ModelSpec spec_of(const LayerShape& shape, int64_t n_layers) {
  ModelSpec spec = tiny_spec(n_layers, 1);
  spec.vocab_size = 1024;
  spec.hidden_size = shape.hidden;
  spec.intermediate_size = shape.intermediate;
  spec.n_heads = shape.n_heads;
  spec.n_kv_heads = shape.n_kv_heads;
  spec.head_dim = shape.head_dim;
  return spec;
}

// So many that a model's weights are in no cache when their turn comes again, as far as models have so many layers.
int64_t layers_for(const LayerShape& shape, const Format& format) {
  constexpr int64_t kBeyondCache = int64_t{192} << 20, kMost = 24;
  return std::min(ceil_div(kBeyondCache, weight_ledger(spec_of(shape, 1), format).linear_bytes), kMost);
}

void measure_layers(HardwareProfile& profile, const LayerShape& shape, const Format& format, int compute_capability,
                    const Stream& stream) {
  const int64_t n_layers = layers_for(shape, format);
  const int64_t n_times =
      ceil_div(int64_t{2}, n_layers);  // in a graph: one layer alone would be its begin and end, too
  const ModelSpec spec = spec_of(shape, n_layers);
  const DeviceWeights weights = random_model(spec, format, compute_capability, false, stream);
  CudaForward forward(weights, kLimits);
  const KvLayout layout = kv_layout(spec, format, ProbeStep::kBlockSize);
  constexpr int64_t kMostBlocks = kMostDecodeRows * (kDecodeContext / ProbeStep::kBlockSize + 1);  // prompts take fewer
  const DeviceBuffer cache = numbers(kMostBlocks * layout.block_bytes(), stream);
  stream.synchronize();
  const auto times = [&](std::span<const int64_t> rows, int64_t n_new, int64_t n_context) {
    LayerTimes result{.scheme = format.scheme,
                      .hidden_size = shape.hidden,
                      .intermediate_size = shape.intermediate,
                      .n_heads = shape.n_heads,
                      .n_kv_heads = shape.n_kv_heads,
                      .head_dim = shape.head_dim,
                      .n_new = n_new,
                      .n_context = n_context,
                      .times = {}};
    for (const int64_t n_rows : rows) {
      const ProbeStep step(n_rows / n_new, n_new, n_context, forward.stream());
      TM_CHECK(step.n_blocks() <= kMostBlocks, "{} blocks of {}", step.n_blocks(), kMostBlocks);
      const auto enqueue = [&] {
        for (int64_t i = 0; i < n_times; ++i)
          forward.enqueue_layers(0, static_cast<int>(n_layers), step.view(), {layout, cache.data()});
      };
      result.times.push_back(
          {n_rows, graph_seconds(forward.stream(), enqueue) / static_cast<double>(n_layers * n_times)});
    }
    return result;
  };
  profile.layer_times.push_back(times(kDecodeRows, 1, kDecodeContext));
  profile.layer_times.push_back(times(kPromptRows, kPromptTokens, 0));
}

void measure_head(HardwareProfile& profile, MatShape shape, const Format& format, int compute_capability,
                  const Stream& stream) {
  constexpr int kTimes = 4;  // in a graph, so that its own begin and end are little of it
  ModelSpec spec = spec_of(kLayers[0], 1);
  spec.vocab_size = shape.out;
  spec.hidden_size = shape.in;
  const DeviceWeights weights = random_model(spec, format, compute_capability, false, stream);
  CudaForward forward(weights, kLimits);
  HeadTimes result{format.scheme, spec.hidden_size, spec.vocab_size, {}};
  for (const int64_t n_rows : kDecodeRows) {
    const auto enqueue = [&] {
      for (int i = 0; i < kTimes; ++i) forward.enqueue_logits(nullptr, n_rows);
    };
    result.times.push_back({n_rows, graph_seconds(forward.stream(), enqueue) / kTimes});
  }
  profile.head_times.push_back(std::move(result));
}

}  // namespace

ModelSpec small_spec(int64_t n_layers) {
  ModelSpec spec = spec_of(kLayers[0], n_layers);
  spec.vocab_size = kSmallVocab;
  return spec;
}

void measure_stages(HardwareProfile& profile, const std::string& scheme_name, int compute_capability,
                    const Stream& stream) {
  const Format format = format_of_scheme(scheme_name);
  for (const LayerShape& shape : kLayers) measure_layers(profile, shape, format, compute_capability, stream);
  if (scheme(scheme_name).info().bits_per_weight < 16) return;  // lm_head is held in 16 or 32 bits
  for (const MatShape shape : kHeads) measure_head(profile, shape, format, compute_capability, stream);
}

}  // namespace trimeter::cuda
