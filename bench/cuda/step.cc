// Where the time of a decoding step goes: the engine's own graphs of a published shape, weights made on the spot (one
// random layer, uploaded for every layer), kernels' begins and ends from CUPTI.
//   bench_cuda_step SHAPE FORMAT[,FORMAT...] BATCH[,BATCH...] [CONTEXT [PROFILE.json]]
// Per format and batch: the median time of a step, then for each kernel of a layer in the middle, of the first stages
// and of the last ones when it begins and ends, and `adds`, by how much it moves the end of all so far: of kernels that
// overlap, what each costs. These add up to the step. With a profile of `trimeter hardware --device cuda`: what
// a layer and what follows the last one take in graphs of their own, untraced, beside what is predicted of them and of
// the operations in them. Of a step an engine's own part is predicted, too; this one has no engine.
#include <cupti.h>
#include <cxxabi.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <list>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <sstream>

#include "base/clock.h"
#include "base/gpu.h"
#include "base/stats.h"
#include "cost/step_floor.h"
#include "cost/step_time.h"
#include "lab/synth.h"
#include "model/cuda/forward.h"
#include "probe/cuda/random_model.h"
#include "probe/cuda/timing.h"

namespace trimeter {
namespace {

using namespace cuda;

struct Launch {
  std::string name;
  uint64_t begin = 0, end = 0;  // ns
};
std::vector<Launch> launches;  // CUPTI calls back on a thread of its own, while flush() waits

void check_cupti(CUptiResult status, const char* call) {
  if (status == CUPTI_SUCCESS) return;
  const char* what = "";
  cuptiGetResultString(status, &what);
  throw std::runtime_error(fmt::format("{}: {}", call, what));
}

void CUPTIAPI give_buffer(uint8_t** buffer, size_t* size, size_t* max_records) {
  constexpr size_t kBytes = size_t{8} << 20;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBytes));
  *size = kBytes;
  *max_records = 0;
}
void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
    launches.push_back({kernel->name, kernel->start, kernel->end});
  }
  std::free(buffer);
}

// The function's name alone; cuBLASLt's are not mangled.
std::string short_name(const std::string& mangled) {
  int status = 0;
  char* demangled = abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status);
  if (demangled == nullptr) return mangled.substr(0, 40);
  std::string name = demangled;
  std::free(demangled);
  constexpr std::string_view kAnonymous = "(anonymous namespace)::";
  if (const size_t at = name.find(kAnonymous); at != std::string::npos) name.erase(at, kAnonymous.size());
  name.resize(std::min(name.find('<'), name.find('(')));
  return name.substr(name.rfind(':') + 1);
}

std::vector<int64_t> numbers(const std::string& list) {
  std::vector<int64_t> result;
  std::stringstream stream(list);
  for (std::string one; std::getline(stream, one, ',');) result.push_back(std::stoll(one));
  return result;
}

ModelSpec spec_of(const std::string& shape) {
  const std::filesystem::path directory = std::filesystem::temp_directory_path() / ("trimeter-" + shape);
  std::filesystem::create_directories(directory);
  std::ofstream(directory / "config.json") << synthetic_config(shape_named(shape));
  return read_model_spec(directory);
}

class RandomWeights {
 public:
  RandomWeights(const ModelSpec& spec, const Format& format, int compute_capability) {
    weights_.spec = spec;
    weights_.format = format;
    weights_.compute_capability = compute_capability;
    const std::vector<LinearSpec> linears = spec.linears_of_layer(0);
    std::vector<CanonicalWeight> made;
    for (const LinearSpec& linear : linears) made.push_back(random_weight(linear));
    for (int64_t layer = 0; layer < spec.n_layers; ++layer)
      weights_.layers.push_back({ones(), ones(), upload(linears[0], made[0]), upload(linears[1], made[1]),
                                 upload(linears[2], made[2]), upload(linears[3], made[3])});
    weights_.final_norm = ones();
    weights_.lm_head = upload(spec.lm_head(), random_weight(spec.lm_head()));
    if (!spec.tie_word_embeddings) {
      const std::vector<uint16_t> rows(static_cast<size_t>(spec.vocab_size * spec.hidden_size), 0x3c00);
      weights_.embedding = DeviceBuffer(std::ssize(rows) * int64_t{sizeof(uint16_t)}, "embedding");
      TM_CUDA_CHECK(cudaMemcpy(weights_.embedding.data(), rows.data(), static_cast<size_t>(weights_.embedding.size()),
                               cudaMemcpyHostToDevice));
    }
    stream_.synchronize();
  }
  const DeviceWeights& get() const { return weights_; }

 private:
  DeviceBuffer ones() const {
    const std::vector<float> values(static_cast<size_t>(weights_.spec.hidden_size), 1.0f);
    DeviceBuffer buffer(std::ssize(values) * int64_t{sizeof(float)}, "norm");
    TM_CUDA_CHECK(cudaMemcpy(buffer.data(), values.data(), static_cast<size_t>(buffer.size()), cudaMemcpyHostToDevice));
    return buffer;
  }
  // Kept until it is uploaded: in 16 bits a canonical weight is the rows it was made of.
  CanonicalWeight random_weight(const LinearSpec& linear) {
    std::minstd_rand random(1);
    std::vector<uint16_t>& rows = rows_.emplace_back(static_cast<size_t>(linear.shape.out * linear.shape.in));
    for (uint16_t& x : rows)
      x = static_cast<uint16_t>((random() & 0x8000u) | (0x3c00u + random() % 512u));  // +-0.01..0.1
    const DenseRows part{reinterpret_cast<const std::byte*>(rows.data()), DType::kBF16, linear.shape.out};
    return linear_scheme(weights_.spec, weights_.format, linear).quantize_rtn({&part, 1}, linear.shape);
  }
  DeviceLinearWeight upload(const LinearSpec& linear, const CanonicalWeight& weight) {
    const Scheme& held_in = linear_scheme(weights_.spec, weights_.format, linear);
    return {upload_linear(held_in, weight, weights_.compute_capability, stream_.get(), weights_.arena), DeviceBuffer()};
  }

  Stream stream_;
  DeviceWeights weights_;
  std::list<std::vector<uint16_t>> rows_;
};

struct Row {
  std::string name;
  double begin_us = 0, end_us = 0, adds_us = 0;
};

// Medians over steps of as many kernels each.
std::vector<Row> rows_of(size_t n_steps) {
  std::ranges::sort(launches, {}, &Launch::begin);
  const size_t n = launches.size() / n_steps;
  std::vector<Row> rows(n);
  for (size_t i = 0; i < n; ++i) {
    std::vector<double> begin, end, adds;
    for (size_t step = 0; step < n_steps; ++step) {
      const Launch* first = &launches[step * n];
      uint64_t reached = i == 0 ? first->begin : 0;
      for (size_t j = 0; j < i; ++j) reached = std::max(reached, first[j].end);
      begin.push_back(static_cast<double>(first[i].begin - first->begin) * 1e-3);
      end.push_back(static_cast<double>(first[i].end - first->begin) * 1e-3);
      adds.push_back(first[i].end > reached ? static_cast<double>(first[i].end - reached) * 1e-3 : 0.0);
    }
    rows[i] = {short_name(launches[i].name), median(begin), median(end), median(adds)};
  }
  return rows;
}

// The layers of a step and what follows them, each in a graph of its own, beside what is predicted of them.
void compare_stages(CudaForward& forward, const DeviceWeights& weights, const KvView& kv, int64_t batch,
                    int64_t context, const HardwareProfile& hardware) {
  const auto us = [](double seconds) { return seconds * 1e6; };
  const ModelSpec& spec = weights.spec;
  StepShape shape{.seqs = {}, .n_logit_rows = batch};
  shape.seqs.assign(static_cast<size_t>(batch), {1, context});
  const StepTime predicted =
      StepTimer(spec, weights.format, hardware, Target::gpu(weights.compute_capability), hardware.threads, batch)
          .time(shape);
  const ProbeStep step(batch, 1, context, forward.stream());
  const auto stage = [&](const char* what, Stage of, double overhead_s, double times, auto&& enqueue) {
    const double measured_s = graph_seconds(forward.stream(), enqueue) / times;
    const double predicted_s = (predicted.operations_s(of) + overhead_s) / times;
    fmt::print("    {:<10} {:8.2f} us, predicted {:8.2f}, {:5.3f} of it:", what, us(measured_s), us(predicted_s),
               measured_s / predicted_s);
    for (const OpTime& op : predicted.ops)
      if (op.stage == of && us(op.seconds) / times >= 0.005) fmt::print(" {} {:.2f}", op.name, us(op.seconds) / times);
    fmt::print(" beside {:.2f}\n", us(overhead_s) / times);
  };
  fmt::print("  predicted: step {:.1f} us, of it {:.1f} the engine's\n", us(predicted.seconds),
             us(predicted.overhead_s - predicted.layers_overhead_s - predicted.head_overhead_s));
  const int n_layers = static_cast<int>(spec.n_layers);
  stage("each layer", Stage::kLayers, predicted.layers_overhead_s, n_layers,
        [&] { forward.enqueue_layers(0, n_layers, step.view(), kv); });
  stage("head", Stage::kHead, predicted.head_overhead_s, 1, [&] { forward.enqueue_logits(nullptr, batch); });
}

void profile(const DeviceWeights& weights, int64_t batch, int64_t context, const HardwareProfile* hardware) {
  constexpr int kWarmUps = 20, kSteps = 200, kProfiled = 20;
  constexpr int32_t kBlock = 16;
  const ModelSpec& spec = weights.spec;
  const auto n_seqs = static_cast<int32_t>(batch);
  const EngineLimits limits{
      .max_model_len = 32768, .max_num_seqs = n_seqs, .max_num_batched_tokens = n_seqs, .block_size = kBlock};
  CudaForward forward(weights, limits);
  const KvLayout layout = kv_layout(spec, weights.format, kBlock);
  const auto blocks_of_seq = static_cast<int32_t>((context + kBlock) / kBlock);
  const DeviceBuffer blocks(batch * blocks_of_seq * layout.block_bytes(), "KV cache");
  TM_CUDA_CHECK(cudaMemset(blocks.data(), 0x3c, static_cast<size_t>(blocks.size())));
  std::vector<int32_t> tokens(static_cast<size_t>(batch), 1), rows(tokens.size()),
      table(static_cast<size_t>(batch * blocks_of_seq));
  std::iota(rows.begin(), rows.end(), 0);
  std::iota(table.begin(), table.end(), 0);
  std::vector<StepSeq> seqs;
  for (int32_t i = 0; i < n_seqs; ++i)
    seqs.push_back({i, 1, static_cast<int32_t>(context), &table[static_cast<size_t>(i * blocks_of_seq)]});
  const auto step = [&] {
    forward.run({tokens, seqs}, {layout, blocks.data()});
    forward.draw(rows, {});
  };
  for (int i = 0; i < kWarmUps; ++i) step();
  std::vector<double> seconds, enqueue_s;
  for (int i = 0; i < kSteps; ++i) {
    const double begin = now_s();
    forward.run({tokens, seqs}, {layout, blocks.data()});
    enqueue_s.push_back(now_s() - begin);
    forward.draw(rows, {});
    seconds.push_back(now_s() - begin);
  }
  double bytes = 0;
  StepShape shape{.seqs = {}, .n_logit_rows = batch};
  shape.seqs.assign(static_cast<size_t>(batch), {1, context});
  for (const OpCost& op : step_ledger(spec, weights.format, shape, Target::gpu(weights.compute_capability)))
    bytes += static_cast<double>(op.count * op.weight_bytes);
  fmt::print("{} batch {} context {}: step {:.1f} us, least {:.1f}, enqueued after {:.1f}, weights {:.1f} GB/s\n",
             weights.format.name, batch, context, median(seconds) * 1e6, *std::ranges::min_element(seconds) * 1e6,
             median(enqueue_s) * 1e6, bytes / median(seconds) * 1e-9);

  if (hardware != nullptr) compare_stages(forward, weights, {layout, blocks.data()}, batch, context, *hardware);

  launches.clear();
  check_cupti(cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL), "cuptiActivityEnable");
  for (int i = 0; i < kProfiled; ++i) step();
  TM_CUDA_CHECK(cudaDeviceSynchronize());
  check_cupti(cuptiActivityFlushAll(1), "cuptiActivityFlushAll");
  check_cupti(cuptiActivityDisable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL), "cuptiActivityDisable");
  if (launches.empty() || launches.size() % kProfiled != 0) {
    fmt::print("  no profile: {} kernels of {} steps\n", launches.size(), kProfiled);
    return;
  }
  const std::vector<Row> all = rows_of(kProfiled);
  std::map<std::string, std::pair<int, double>> by_name;
  double sum = 0;
  for (const Row& row : all) {
    ++by_name[row.name].first;
    by_name[row.name].second += row.adds_us;
    sum += row.adds_us;
  }
  fmt::print("  {} kernels, together {:.1f} us while traced\n", all.size(), sum);
  for (const auto& [name, total] : by_name)
    fmt::print("    {:<28} {:4} times {:8.1f} us, each {:6.2f}\n", name, total.first, total.second,
               total.second / total.first);
  const size_t per_layer = (all.size() - 2) / static_cast<size_t>(spec.n_layers), first = 1 + per_layer * 4;
  for (size_t i = first; i < std::min(first + per_layer, all.size()); ++i)
    fmt::print("    layer 4: {:<28} {:8.2f} .. {:8.2f} us, adds {:6.2f}\n", all[i].name,
               all[i].begin_us - all[first].begin_us, all[i].end_us - all[first].begin_us, all[i].adds_us);
  for (size_t i = all.size() - 3; i < all.size(); ++i)
    fmt::print("    end:     {:<28} takes {:8.2f} us, adds {:6.2f}\n", all[i].name, all[i].end_us - all[i].begin_us,
               all[i].adds_us);
}

void run(int argc, char** argv) {
  if (argc < 4) throw std::runtime_error("wanted SHAPE FORMATS BATCHES [CONTEXT [PROFILE]]");
  std::optional<HardwareProfile> hardware;
  if (argc > 5) hardware = read_hardware_profile(argv[5]);
  check_cupti(cuptiActivityRegisterCallbacks(give_buffer, take_buffer), "cuptiActivityRegisterCallbacks");
  const ModelSpec spec = spec_of(argv[1]);
  const GpuInfo gpu = current_gpu();
  fmt::print("{}, {} layers of {}\n", gpu.name, spec.n_layers, argv[1]);
  std::stringstream formats(argv[2]);
  for (std::string name; std::getline(formats, name, ',');) {
    const RandomWeights weights(spec, format(name), gpu.compute_capability);
    for (const int64_t batch : numbers(argv[3]))
      profile(weights.get(), batch, argc > 4 ? std::stoll(argv[4]) : 160, hardware ? &*hardware : nullptr);
  }
}

}  // namespace
}  // namespace trimeter

int main(int argc, char** argv) {
  try {
    trimeter::run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
