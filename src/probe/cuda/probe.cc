// Measures the current card: everything with the engine's own kernels, in graphs, as the engine runs them.
#include "probe/probe.h"

#include <algorithm>
#include <map>

#include "base/clock.h"
#include "base/error.h"
#include "base/gpu.h"
#include "cost/product_fit.h"
#include "kernels/gpu_scratch.h"
#include "probe/build_id.h"
#include "probe/cuda/micro.h"
#include "probe/cuda/parts.h"
#include "probe/cuda/random_model.h"
#include "probe/cuda/timing.h"
#include "schemes/gpu_plan.h"

namespace trimeter {
namespace {

using namespace cuda;

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

constexpr int64_t kPromptTokens[] = {1024, 2048};  // beside those of decoding
constexpr int64_t kMostTokens = std::end(kPromptTokens)[-1];
// Rows and width differ by themselves: product_fit.h. The first, the largest, shows the peak rate; no other is a power
// of two: stages.cc.
constexpr MatShape kShapes[] = {{10240, 4096}, {3328, 4608}, {1664, 7936}, {9344, 1152}, {1408, 1280}};
constexpr int64_t kCachesBeyond = 3;

// Seconds of rounding an input to bf16 between others of its kind, by tokens and width: the same for every scheme.
using RoundingTimes = std::map<std::pair<int64_t, int64_t>, double>;

// Copies of one random matrix, together larger than any cache, and an input.
class Problem {
 public:
  Problem(const Scheme& scheme, MatShape shape, const GpuInfo& gpu, const Stream& stream)
      : stream_(stream),
        workspace_(filled(kGpuMatmulCounterBytes + kGpuMatmulWorkspaceBytes, 0, stream)),
        y_(kMostTokens * shape.out * int64_t{sizeof(float)}, "product probe"),
        f32_(numbers(kMostTokens * shape.in * int64_t{sizeof(float)}, stream)),
        bf16_(kMostTokens * shape.in * 2, "product probe") {
    const CanonicalWeight weight = random_weight(scheme, shape);
    for (int64_t bytes = 0; bytes < kCachesBeyond * gpu.l2_bytes; bytes += copies_.back()->bytes().total())
      copies_.push_back(upload_linear(scheme, weight, gpu.compute_capability, stream.get(), arena_));
    const InputForm form = copies_.front()->input(kMostTokens).form;
    values_ = DeviceBuffer(input_values_bytes(form, kMostTokens, shape.in), "product probe");
    scales_ = DeviceBuffer(input_scales_bytes(form, kMostTokens, shape.in), "product probe");
    stream.synchronize();
  }
  // Of one product with a matrix that is in no cache, its input prepared as that of several tokens always is, and of
  // preparing its input as far as that takes longer than rounding it to bf16: between kernels that wait for each other,
  // as in a model. Back to back with others of its kind a product's start hides behind the end of the one before.
  double seconds(int64_t n_tokens, RoundingTimes& rounding) {
    DeviceInput x = copies_.front()->input(n_tokens);
    x.values = values_.data();
    x.scales = scales_.as<float>();
    const auto [rounded, is_new] = rounding.try_emplace({n_tokens, x.in});
    if (is_new) rounded->second = rounding_seconds(n_tokens, x.in);
    const double both = graph_seconds(stream_,
                                      [&] {
                                        for (const auto& copy : copies_) {
                                          prepare(f32_.as<float>(), x, stream_.get());
                                          copy->multiply(x, nullptr, false, y_.as<float>(), copy->shape().out,
                                                         workspace_.data(), workspace_.size(), stream_.get());
                                        }
                                      }) /
                        static_cast<double>(copies_.size());
    return std::max(both - rounded->second, both / 2);
  }

 private:
  double rounding_seconds(int64_t n_tokens, int64_t in) const {
    constexpr int kTimes = 64;
    const DeviceInput rounded{.form = InputForm::kBF16, .n_tokens = n_tokens, .in = in, .values = bf16_.data()};
    return graph_seconds(stream_,
                         [&] {
                           for (int i = 0; i < kTimes; ++i) prepare(f32_.as<float>(), rounded, stream_.get());
                         }) /
           kTimes;
  }

  const Stream& stream_;
  DeviceArena arena_;  // none: copies that are allocations of their own lie as a model's do, or further apart
  DeviceBuffer workspace_, y_, f32_, bf16_, values_, scales_;
  std::vector<std::unique_ptr<DeviceLinear>> copies_;
};

void measure_kernel(HardwareProfile& profile, const std::string& scheme_name, const GpuInfo& gpu,
                    RoundingTimes& rounding, const Stream& stream) {
  const Scheme& measured = scheme(scheme_name);
  std::vector<int64_t> token_counts(kDecodeRows.begin(), kDecodeRows.end());
  token_counts.insert(token_counts.end(), std::begin(kPromptTokens), std::end(kPromptTokens));
  std::map<int64_t, std::vector<ProductTime>> times;  // by tokens
  for (const MatShape shape : kShapes) {
    Problem problem(measured, shape, gpu, stream);
    for (const int64_t n_tokens : token_counts) {
      const int64_t rows =
          gpu_rows_waited_for(measured.info(), shape, gpu.compute_capability, n_tokens, gpu.n_multiprocessors);
      times[n_tokens].push_back({{rows, shape.in}, problem.seconds(n_tokens, rounding)});
    }
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
    double& rate = profile.rates[gpu_plan(measured.info(), gpu.compute_capability).executed];
    rate = std::max(rate, 2.0 * static_cast<double>(n_tokens * shape.out * shape.in) / seconds);
  }
}

// Llama-3-8B's heads.
constexpr int64_t kHeads = 32, kKvHeads = 8, kHeadDim = 128;

double attention_seconds(DType dtype, int64_t n_seqs, int64_t n_new, int64_t n_context, const Stream& stream) {
  const ProbeStep step(n_seqs, n_new, n_context, stream);
  const KvLayout layout{1, kKvHeads, kHeadDim, ProbeStep::kBlockSize, dtype};
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

}  // namespace

HardwareProfile measure_gpu(const std::vector<std::string>& wanted, const ProbeProgress& on_progress) {
  std::vector<std::string> schemes = wanted;
  if (std::ranges::find(schemes, "bf16") == schemes.end()) schemes.emplace_back("bf16");  // fixed costs are a model's
  const GpuInfo gpu = current_gpu();
  const Stream stream;
  HardwareProfile profile;
  profile.name = gpu.name;
  profile.kind = "cuda";
  profile.isa = name(Target::gpu(gpu.compute_capability));
  profile.measured_at = utc_now();
  profile.build = build_id();
  profile.n_multiprocessors = gpu.n_multiprocessors;
  profile.memory_bytes = gpu.memory_bytes;
  profile.l2_bytes = gpu.l2_bytes;

  const int total = 5 + 2 * static_cast<int>(schemes.size());
  int done = 0;
  const auto part = [&](const std::string& what, auto&& measure) {
    if (on_progress) on_progress(what, done, total);
    measure();
    ++done;
  };
  RoundingTimes rounding;
  part("read bandwidth", [&] { measure_read(profile, stream); });
  for (const std::string& scheme_name : schemes)
    part(fmt::format("kernel {}", scheme_name), [&] { measure_kernel(profile, scheme_name, gpu, rounding, stream); });
  part("attention", [&] { measure_attention(profile, stream); });
  part("sampling", [&] { measure_sampling(profile, stream); });
  part("launches", [&] { measure_launches(profile, stream); });
  for (const std::string& scheme_name : schemes)
    part(fmt::format("stages {}", scheme_name),
         [&] { measure_stages(profile, scheme_name, gpu.compute_capability, stream); });
  part("fixed costs", [&] { measure_fixed_costs(profile, schemes, gpu.compute_capability, stream); });
  if (on_progress) on_progress("", total, total);
  return profile;
}

}  // namespace trimeter
