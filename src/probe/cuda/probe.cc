// Measures the current card: everything with the engine's own kernels, in graphs, as the engine runs them.
#include "probe/probe.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <tuple>

#include "base/clock.h"
#include "base/cuda/cuda.h"
#include "base/error.h"
#include "base/gpu.h"
#include "base/stats.h"
#include "cost/step_time.h"
#include "kernels/gpu_scratch.h"
#include "model/cuda/forward.h"
#include "probe/build_id.h"
#include "probe/cuda/micro.h"
#include "probe/parts.h"
#include "probe/product_fit.h"
#include "schemes/gpu_plan.h"

namespace trimeter {
namespace {

using namespace cuda;

constexpr int kRounds = 7;
constexpr double kLeastSeconds = 2e-3;  // of a timed run

// The median time of one launch of a graph of `enqueue`; it is launched often enough that the clock's steps vanish.
template <class Enqueue>
double graph_seconds(const Stream& stream, Enqueue&& enqueue) {
  enqueue();
  stream.synchronize();
  Graph graph;
  graph.capture(stream, enqueue);
  const Event begin, end;
  const auto time = [&](int n) {
    begin.record(stream);
    for (int i = 0; i < n; ++i) graph.launch(stream);
    end.record(stream);
    end.synchronize();
    return end.seconds_since(begin) / n;
  };
  const int n = std::clamp(static_cast<int>(kLeastSeconds / time(1)), 1, 1000);
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) seconds.push_back(time(n));
  return median(seconds);
}

void measure_read(HardwareProfile& profile, const Stream& stream) {
  const DeviceBuffer sums(read_sums() * int64_t{sizeof(float)}, "read probe");
  for (const int64_t mib : {4, 16, 64, 256, 1024, 4096}) {
    const int64_t bytes = mib << 20;
    const DeviceBuffer data(bytes, "read probe");
    TM_CUDA_CHECK(cudaMemsetAsync(data.data(), 1, static_cast<size_t>(bytes), stream.get()));
    const double seconds = graph_seconds(stream, [&] { read_all(data.data(), bytes, sums.as<float>(), stream.get()); });
    profile.read_bandwidth.push_back({bytes, 1, static_cast<double>(bytes) / seconds});
  }
}

constexpr int64_t kTokenCounts[] = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2048};
constexpr int64_t kMostTokens = std::end(kTokenCounts)[-1];
// Rows and width differ by themselves: product_fit.h. The first, the largest, shows the peak rate.
constexpr MatShape kShapes[] = {{10240, 4096}, {2048, 4096}, {2048, 8192}, {8192, 1024}, {1024, 1024}};
constexpr int64_t kBeyondCache = int64_t{256} << 20;
constexpr size_t kMostCopies = 96;  // of a small shape, whose weights are the least that it takes time for

// Copies of one random matrix, together larger than any cache, and an input.
class Problem {
 public:
  Problem(const Scheme& scheme, MatShape shape, int compute_capability, const Stream& stream)
      : stream_(stream),
        workspace_(kGpuMatmulCounterBytes + kGpuMatmulWorkspaceBytes, "product probe"),
        y_(kMostTokens * shape.out * int64_t{sizeof(float)}, "product probe") {
    std::mt19937 random(1);
    std::vector<uint16_t> rows(static_cast<size_t>(shape.out * shape.in));
    for (uint16_t& x : rows)
      x = static_cast<uint16_t>((random() & 0x8000u) | (0x3c00u + random() % 512u));  // +-0.01..0.1
    const DenseRows part{reinterpret_cast<const std::byte*>(rows.data()), DType::kBF16, shape.out};
    const CanonicalWeight weight = scheme.quantize_rtn({&part, 1}, shape);
    for (int64_t bytes = 0; bytes < kBeyondCache && copies_.size() < kMostCopies;
         bytes += copies_.back()->bytes().total())
      copies_.push_back(upload_linear(scheme, weight, compute_capability, stream.get(), arena_));
    x_ = copies_.front()->input();
    x_.in = shape.in;
    x_.n_tokens = kMostTokens;
    values_ = DeviceBuffer(input_values_bytes(x_.form, kMostTokens, shape.in), "product probe");
    scales_ = DeviceBuffer(input_scales_bytes(x_.form, kMostTokens, shape.in), "product probe");
    x_.values = values_.data();
    x_.scales = scales_.as<float>();
    std::vector<float> inputs(static_cast<size_t>(kMostTokens * shape.in));
    for (float& v : inputs) v = static_cast<float>(random() % 2001) / 1000 - 1;
    f32_ = DeviceBuffer(std::ssize(inputs) * int64_t{sizeof(float)}, "product probe");
    bf16_ = DeviceBuffer(std::ssize(inputs) * 2, "product probe");
    TM_CUDA_CHECK(cudaMemcpyAsync(f32_.data(), inputs.data(), static_cast<size_t>(f32_.size()), cudaMemcpyHostToDevice,
                                  stream.get()));
    TM_CUDA_CHECK(cudaMemsetAsync(workspace_.data(), 0, kGpuMatmulCounterBytes, stream.get()));
    stream.synchronize();
  }
  // Of one product with a matrix that is in no cache, and of preparing its input as far as that takes longer than
  // rounding it to bf16: between kernels that wait for each other, as in a model. Back to back with others of its kind
  // a product's start hides behind the end of the one before.
  double seconds(int64_t n_tokens) {
    DeviceInput x = x_, rounded{.form = InputForm::kBF16, .n_tokens = n_tokens, .in = x_.in, .values = bf16_.data()};
    x.n_tokens = n_tokens;
    const double rounding = graph_seconds(stream_, [&] {
      for (size_t i = 0; i < copies_.size(); ++i) prepare(f32_.as<float>(), rounded, stream_.get());
    });
    const double all = graph_seconds(stream_, [&] {
      for (const auto& copy : copies_) {
        prepare(f32_.as<float>(), x, stream_.get());
        copy->multiply(x, nullptr, false, y_.as<float>(), copy->shape().out, workspace_.data(), workspace_.size(),
                       stream_.get());
      }
    });
    return std::max(all - rounding, all / 2) / static_cast<double>(copies_.size());
  }

 private:
  const Stream& stream_;
  DeviceArena arena_;  // none: copies that are allocations of their own lie as a model's do, or further apart
  DeviceBuffer workspace_, y_, values_, scales_, f32_, bf16_;
  std::vector<std::unique_ptr<DeviceLinear>> copies_;
  DeviceInput x_;
};

void measure_kernel(HardwareProfile& profile, const std::string& scheme_name, int compute_capability,
                    const Stream& stream) {
  const Scheme& measured = scheme(scheme_name);
  std::map<int64_t, std::vector<ProductTime>> times;  // by tokens
  for (const MatShape shape : kShapes) {
    Problem problem(measured, shape, compute_capability, stream);
    for (const int64_t n_tokens : kTokenCounts) times[n_tokens].push_back({shape, problem.seconds(n_tokens)});
  }
  for (const auto& [n_tokens, of_shapes] : times) {
    const ProductFit fit = fit_products(of_shapes);
    profile.kernels.push_back({.scheme = scheme_name,
                               .isa = profile.isa,
                               .n_tokens = n_tokens,
                               .seconds_per_weight = fit.per_weight,
                               .seconds_per_output = fit.per_output,
                               .seconds_per_input = fit.per_input / static_cast<double>(n_tokens),
                               .seconds_per_call = fit.call});
    const auto [shape, seconds] = of_shapes.front();
    double& rate = profile.rates[gpu_plan(measured.info(), compute_capability).executed];
    rate = std::max(rate, 2.0 * static_cast<double>(n_tokens * shape.out * shape.in) / seconds);
  }
}

// Llama-3-8B's heads.
constexpr int64_t kHeads = 32, kKvHeads = 8, kHeadDim = 128;

constexpr int64_t kBlockSize = 16;

DeviceBuffer filled(int64_t bytes, int value, const Stream& stream) {
  DeviceBuffer buffer(bytes, "probe");
  TM_CUDA_CHECK(cudaMemsetAsync(buffer.data(), value, static_cast<size_t>(bytes), stream.get()));
  return buffer;
}
// Bytes of 0x3c are small numbers in every dtype.
DeviceBuffer numbers(int64_t bytes, const Stream& stream) { return filled(bytes, 0x3c, stream); }

// Sequences of n_new rows behind n_context tokens, their blocks in order.
class ProbeStep {
 public:
  ProbeStep(int64_t n_seqs, int64_t n_new, int64_t n_context, const Stream& stream) {
    const int64_t blocks_of_seq = (n_context + n_new + kBlockSize - 1) / kBlockSize, n_rows = n_seqs * n_new;
    std::vector<int32_t> ints;  // positions, sequences, first rows, block tables
    for (int64_t r = 0; r < n_rows; ++r) ints.push_back(static_cast<int32_t>(n_context + r % n_new));
    for (int64_t r = 0; r < n_rows; ++r) ints.push_back(static_cast<int32_t>(r / n_new));
    for (int64_t s = 0; s <= n_seqs; ++s) ints.push_back(static_cast<int32_t>(s * n_new));
    for (int64_t b = 0; b < n_seqs * blocks_of_seq; ++b) ints.push_back(static_cast<int32_t>(b));
    inputs_ = DeviceBuffer(std::ssize(ints) * int64_t{sizeof(int32_t)}, "attention probe");
    TM_CUDA_CHECK(cudaMemcpyAsync(inputs_.data(), ints.data(), static_cast<size_t>(inputs_.size()),
                                  cudaMemcpyHostToDevice, stream.get()));
    stream.synchronize();
    const int32_t* at = inputs_.as<int32_t>();
    view_ = {.n_rows = n_rows,
             .n_seqs = n_seqs,
             .positions = at,
             .seq_of_row = at + n_rows,
             .row_begin = at + 2 * n_rows,
             .block_tables = at + 2 * n_rows + n_seqs + 1,
             .table_stride = blocks_of_seq,
             .max_rows_per_seq = n_new,
             .max_context = n_context + n_new};
  }
  const StepView& view() const { return view_; }
  int64_t n_blocks() const { return view_.n_seqs * view_.table_stride; }

 private:
  DeviceBuffer inputs_;
  StepView view_;
};

double attention_seconds(DType dtype, int64_t n_seqs, int64_t n_new, int64_t n_context, const Stream& stream) {
  const ProbeStep step(n_seqs, n_new, n_context, stream);
  const KvLayout layout{1, kKvHeads, kHeadDim, kBlockSize, dtype};
  const int64_t n_rows = n_seqs * n_new, width = (kHeads + 2 * kKvHeads) * kHeadDim;
  const DeviceBuffer cache = numbers(step.n_blocks() * layout.block_bytes(), stream),
                     qkv = numbers(n_rows * width * int64_t{sizeof(float)}, stream),
                     counters = filled(kGpuMatmulCounterBytes, 0, stream),
                     out(n_rows * kHeads * kHeadDim * int64_t{sizeof(float)}, "attention probe"),
                     partials(gpu_attention_workspace_bytes(n_seqs, kHeads, kHeadDim), "attention probe");
  return graph_seconds(stream, [&] {
    attention(qkv.as<float>(), kHeads, step.view(), {layout, cache.data()}, 0, {}, out.as<float>(),
              {counters.as<unsigned>(), partials.data()}, stream.get());
  });
}

// A chunk of a prompt says what a query costs, decoding with a long context what the cache costs beside it, and with a
// short one what each sequence costs, however short.
void measure_attention(HardwareProfile& profile, const Stream& stream) {
  constexpr int64_t kChunk = 2048, kSeqs = 32, kContext = 4096, kManySeqs = 128, kShortContext = 16;
  constexpr double kChunkPairs = 0.5 * kChunk * (kChunk + 1), kDecodePairs = 1.0 * kSeqs * (kContext + 1);
  profile.attention_seconds_per_query_element =
      attention_seconds(DType::kBF16, 1, kChunk, 0, stream) / (kChunkPairs * kHeads * kHeadDim);
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32, DType::kF8E4M3, DType::kI8}) {
    const double per_element =
        attention_seconds(dtype, kSeqs, 1, kContext, stream) / (kDecodePairs * kKvHeads * kHeadDim);
    profile.attention_seconds_per_kv_element[std::string(name(dtype))] =
        std::max(0.0, per_element - kHeads / kKvHeads * profile.attention_seconds_per_query_element);
  }
  const double elements_s = (kShortContext + 1) * kHeadDim *
                            (profile.attention_seconds_per_kv_element.at(std::string(name(DType::kBF16))) +
                             kHeads / kKvHeads * profile.attention_seconds_per_query_element);
  const double short_s = attention_seconds(DType::kBF16, kManySeqs, 1, kShortContext, stream) -
                         attention_seconds(DType::kBF16, 1, 1, kShortContext, stream);
  profile.attention_seconds_per_call = std::max(0.0, short_s / ((kManySeqs - 1) * kKvHeads) - elements_s);
}

void measure_sampling(HardwareProfile& profile, const Stream& stream) {
  constexpr int64_t kRows = 64, kVocab = 131072;
  const DeviceBuffer logits(kRows * kVocab * int64_t{sizeof(float)}, "sampling probe"),
      tokens(kRows * int64_t{sizeof(int32_t)}, "sampling probe");
  TM_CUDA_CHECK(cudaMemsetAsync(logits.data(), 0x3c, static_cast<size_t>(logits.size()), stream.get()));
  profile.sampling_seconds_per_logit =
      graph_seconds(stream, [&] { argmax(logits.as<float>(), kRows, kVocab, tokens.as<int32_t>(), stream.get()); }) /
      (kRows * kVocab);
}

void measure_launches(HardwareProfile& profile, const Stream& stream) {
  constexpr int kLaunches = 1000;
  const DeviceBuffer value(sizeof(float), "launch probe");
  const auto launch_all = [&] {
    for (int i = 0; i < kLaunches; ++i) touch(value.as<float>(), stream.get());
  };
  profile.barrier_s = graph_seconds(stream, launch_all) / kLaunches;
  std::vector<double> seconds;
  for (int round = 0; round < kRounds; ++round) {
    const double begin = now_s();
    launch_all();
    stream.synchronize();
    seconds.push_back((now_s() - begin) / kLaunches);
  }
  profile.launch_s = median(seconds);
}

// with_biases: Qwen2's, of q, k and v.
class RandomWeights {
 public:
  RandomWeights(const ModelSpec& spec, const Format& format, int compute_capability, bool with_biases,
                const Stream& stream)
      : stream_(stream) {
    weights_.spec = spec;
    weights_.format = format;
    weights_.compute_capability = compute_capability;
    for (int layer = 0; layer < spec.n_layers; ++layer) {
      const std::vector<LinearSpec> linears = spec.linears_of_layer(layer);
      weights_.layers.push_back(
          {ones(), ones(), linear(linears[0]), linear(linears[1]), linear(linears[2]), linear(linears[3])});
      if (with_biases) weights_.layers.back().qkv.bias = ones(linears[0].shape.out);
    }
    weights_.final_norm = ones();
    weights_.lm_head = linear(spec.lm_head());
  }
  const DeviceWeights& get() const { return weights_; }

 private:
  DeviceBuffer ones() const { return ones(weights_.spec.hidden_size); }
  static DeviceBuffer ones(int64_t n) {
    const std::vector<float> values(static_cast<size_t>(n), 1.0f);
    DeviceBuffer buffer(std::ssize(values) * int64_t{sizeof(float)}, "overhead probe");
    TM_CUDA_CHECK(cudaMemcpy(buffer.data(), values.data(), static_cast<size_t>(buffer.size()), cudaMemcpyHostToDevice));
    return buffer;
  }
  DeviceLinearWeight linear(const LinearSpec& spec) {
    const std::vector<uint16_t> rows(static_cast<size_t>(spec.shape.out * spec.shape.in), 0x3c00);  // about 0.01
    const DenseRows part{reinterpret_cast<const std::byte*>(rows.data()), DType::kBF16, spec.shape.out};
    const Scheme& held_in = linear_scheme(weights_.spec, weights_.format, spec);
    return {upload_linear(held_in, held_in.quantize_rtn({&part, 1}, spec.shape), weights_.compute_capability,
                          stream_.get(), weights_.arena),
            DeviceBuffer()};
  }

  const Stream& stream_;
  DeviceWeights weights_;
};

// A model of common proportions, and its steps as the engine's: enqueue, wait for the tokens.
constexpr int kMostSeqs = 256, kContext = 128;
ModelSpec overhead_spec(int64_t n_layers) {
  ModelSpec spec = tiny_spec(n_layers, 1);
  spec.hidden_size = 2048;
  spec.intermediate_size = 8192;
  spec.n_heads = 16;
  spec.n_kv_heads = 4;
  spec.head_dim = 128;
  return spec;
}
double step_s(CudaForward& forward, const ModelSpec& spec, int32_t n_seqs, int32_t n_new, int32_t n_context,
              int n_steps) {
  const KvLayout layout = kv_layout(spec, format("bf16"), kBlockSize);
  const int32_t blocks_of_seq = static_cast<int32_t>((n_context + n_new + kBlockSize - 1) / kBlockSize);
  const DeviceBuffer blocks(n_seqs * blocks_of_seq * layout.block_bytes(), "overhead probe");
  TM_CUDA_CHECK(cudaMemset(blocks.data(), 0x3c, static_cast<size_t>(blocks.size())));
  const std::vector<int32_t> ones(static_cast<size_t>(n_seqs * n_new), 1);
  std::vector<int32_t> tables(static_cast<size_t>(n_seqs * blocks_of_seq)), last_rows,
      decoded_rows(static_cast<size_t>(n_seqs));
  std::iota(tables.begin(), tables.end(), 0);
  std::iota(decoded_rows.begin(), decoded_rows.end(), 0);
  std::vector<StepSeq> seqs;
  for (int32_t i = 0; i < n_seqs; ++i) {
    seqs.push_back({i * n_new, n_new, n_context, &tables[static_cast<size_t>(i * blocks_of_seq)]});
    last_rows.push_back((i + 1) * n_new - 1);
  }
  // A prompt comes after many steps of decoding, and finds little of what launching it takes in the host's caches.
  constexpr int kDecodedBetween = 16;
  std::vector<StepSeq> decoding;
  if (n_new > 1)
    for (int32_t i = 0; i < n_seqs; ++i)
      decoding.push_back({i, 1, n_context + n_new - 1, &tables[static_cast<size_t>(i * blocks_of_seq)]});
  std::vector<double> seconds;
  for (int step = 0; step < n_steps; ++step) {
    for (int i = 0; i < kDecodedBetween && !decoding.empty(); ++i) {
      forward.run({std::span(ones).first(decoding.size()), decoding}, {layout, blocks.data()});
      forward.largest(std::span(decoded_rows));
    }
    const double begin = now_s();
    forward.run({ones, seqs}, {layout, blocks.data()});
    forward.largest(last_rows);
    seconds.push_back(now_s() - begin);
  }
  return median(seconds);
}

// What lies between the products of a layer: its kernels, each behind the one before it.
double between_products_s(const ModelSpec& spec, int64_t n_seqs, const Stream& stream) {
  constexpr int kLayers = 8;
  constexpr int64_t kFloat = sizeof(float);
  const ProbeStep step(n_seqs, 1, kContext, stream);
  const KvLayout layout{1, spec.n_kv_heads, spec.head_dim, kBlockSize, DType::kBF16};
  const int64_t attention_width = spec.n_heads * spec.head_dim,
                qkv_width = attention_width + 2 * spec.n_kv_heads * spec.head_dim;
  const DeviceBuffer cache = numbers(step.n_blocks() * layout.block_bytes(), stream),
                     residual = numbers(n_seqs * spec.hidden_size * kFloat, stream),
                     gain = numbers(spec.hidden_size * kFloat, stream),
                     qkv = numbers(n_seqs * qkv_width * kFloat, stream),
                     angles = numbers((kContext + 1) * spec.head_dim * kFloat, stream),
                     gate_up = numbers(2 * n_seqs * spec.intermediate_size * kFloat, stream),
                     counters = filled(kGpuMatmulCounterBytes, 0, stream),
                     out(n_seqs * attention_width * kFloat, "overhead probe"),
                     values(n_seqs * spec.intermediate_size * kFloat, "overhead probe"),
                     partials(gpu_attention_workspace_bytes(n_seqs, spec.n_heads, spec.head_dim), "overhead probe");
  const auto input = [&](int64_t in) {
    return DeviceInput{.form = InputForm::kBF16, .n_tokens = n_seqs, .in = in, .values = values.data()};
  };
  return graph_seconds(stream,
                       [&] {
                         for (int layer = 0; layer < kLayers; ++layer) {
                           rms_norm_prepare(residual.as<float>(), nullptr, gain.as<float>(), spec.rms_norm_eps,
                                            input(spec.hidden_size), stream.get());
                           rope_attention_prepare(qkv.as<float>(), spec.n_heads, angles.as<float>(), angles.as<float>(),
                                                  step.view(), {layout, cache.data()}, 0, {}, out.as<float>(),
                                                  {counters.as<unsigned>(), partials.data()}, input(attention_width),
                                                  stream.get());
                           rms_norm_prepare(residual.as<float>(), nullptr, gain.as<float>(), spec.rms_norm_eps,
                                            input(spec.hidden_size), stream.get());
                           silu_mul_prepare(gate_up.as<float>(), input(spec.intermediate_size), stream.get());
                         }
                       }) /
         kLayers;
}
double between_products_s(const StepTime& step) {
  double seconds = 0;
  for (const OpTime& op : step.ops)
    for (const char* name : {"rms_norm", "rope", "kv_write", "attention", "silu_mul"})
      if (op.name == name) seconds += op.seconds;
  return seconds;
}

void measure_fixed_costs(HardwareProfile& profile, const std::vector<std::string>& schemes, int compute_capability,
                         const Stream& stream) {
  constexpr int kDecodeSteps = 100, kPromptSteps = 40;
  constexpr int kFew = FixedCosts::kFewLayers, kMany = FixedCosts::kManyLayers;
  constexpr int kPromptTokens = 32;  // of each of 16 prompts
  const Format baseline = format("bf16");
  const Target target = Target::gpu(compute_capability);
  const EngineLimits limits{.max_model_len = 1024,
                            .max_num_seqs = kMostSeqs,
                            .max_num_batched_tokens = 16 * kPromptTokens,
                            .block_size = kBlockSize};
  struct Models {
    ModelSpec spec;
    RandomWeights weights;
    CudaForward forward;
    Models(const ModelSpec& s, const Format& f, int c, bool with_biases, const Stream& on, const EngineLimits& l)
        : spec(s), weights(s, f, c, with_biases, on), forward(weights.get(), l) {}
  };
  HardwareProfile itemised = profile;
  itemised.step_overhead_s = itemised.layer_overhead_s = 0;
  const auto predicted = [&](const ModelSpec& spec, int64_t n_seqs) {
    StepShape shape{.seqs = {}, .n_logit_rows = n_seqs};
    shape.seqs.assign(static_cast<size_t>(n_seqs), {.n_new = 1, .n_context = kContext});
    return StepTimer(spec, baseline, itemised, target, profile.threads).time(shape);
  };
  const ModelSpec few_layers = overhead_spec(kFew), many_layers = overhead_spec(kMany);
  for (const int64_t n_seqs : {1, 4, 16, 64, 256}) {
    // Of the operations between products, what is accounted for as bytes and context.
    const double of_ops =
        (between_products_s(predicted(many_layers, n_seqs)) - between_products_s(predicted(few_layers, n_seqs))) /
        (kMany - kFew);
    profile.layer_overheads.push_back({n_seqs, std::max(0.0, between_products_s(few_layers, n_seqs, stream) - of_ops)});
  }
  profile.layer_overhead_s = profile.layer_overhead_s_of(16);
  itemised.layer_overheads = profile.layer_overheads;
  Models few(few_layers, baseline, compute_capability, false, stream, limits);
  profile.step_overhead_s =
      std::max(0.0, step_s(few.forward, few.spec, 16, 1, kContext, kDecodeSteps) - predicted(few.spec, 16).seconds);
  // Of models so small that launching them takes longer than computing them. What is launched depends on the scheme.
  const auto launched = [&](const Format& format) {
    Models few_tiny(tiny_spec(kFew, 16), format, compute_capability, true, stream, limits),
        many_tiny(tiny_spec(kMany, 16), format, compute_capability, true, stream, limits);
    const double few_s = step_s(few_tiny.forward, few_tiny.spec, 16, kPromptTokens, 0, kPromptSteps),
                 many_s = step_s(many_tiny.forward, many_tiny.spec, 16, kPromptTokens, 0, kPromptSteps);
    const double layer_s = std::max(0.0, (many_s - few_s) / (kMany - kFew));
    return std::pair{layer_s, std::max(0.0, few_s - kFew * layer_s)};
  };
  std::tie(profile.launched_layer_s, profile.launched_step_s) = launched(baseline);
  for (const std::string& scheme_name : schemes) {
    Format format = baseline;
    format.scheme = scheme_name;
    profile.launched_layers[scheme_name] = launched(format).first;
  }
}

}  // namespace

HardwareProfile measure_gpu(const std::vector<std::string>& schemes, const ProbeProgress& on_progress) {
  const GpuInfo gpu = current_gpu();
  const Stream stream;
  HardwareProfile profile;
  profile.name = gpu.name;
  profile.kind = "cuda";
  profile.isa = name(Target::gpu(gpu.compute_capability));
  profile.measured_at = utc_now();
  profile.build = build_id();
  profile.memory_bytes = gpu.memory_bytes;
  profile.l2_bytes = gpu.l2_bytes;

  const int total = 5 + static_cast<int>(schemes.size());
  int done = 0;
  const auto part = [&](const std::string& what, auto&& measure) {
    if (on_progress) on_progress(what, done, total);
    measure();
    ++done;
  };
  part("read bandwidth", [&] { measure_read(profile, stream); });
  for (const std::string& scheme_name : schemes)
    part(fmt::format("kernel {}", scheme_name),
         [&] { measure_kernel(profile, scheme_name, gpu.compute_capability, stream); });
  part("attention", [&] { measure_attention(profile, stream); });
  part("sampling", [&] { measure_sampling(profile, stream); });
  part("launches", [&] { measure_launches(profile, stream); });
  part("fixed costs", [&] { measure_fixed_costs(profile, schemes, gpu.compute_capability, stream); });
  if (on_progress) on_progress("", total, total);
  return profile;
}

}  // namespace trimeter
