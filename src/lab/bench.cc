#include "lab/bench.h"

#include <algorithm>
#include <random>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/stats.h"
#include "cost/predict.h"
#include "cost/step_floor.h"
#include "lab/bench_profile.h"
#include "lab/contender.h"
#include "lab/evaluation_set.h"
#include "lab/known_machine.h"
#include "meters/capacity.h"
#include "meters/throughput.h"
#include "model/weights.h"
#include "probe/read_rate.h"
#include "schemes/gpu_plan.h"

namespace trimeter {
namespace {

constexpr int kWarmupTokens = 8;
constexpr int64_t kMostProbeBytes = int64_t{512} << 20;  // beyond any cache

void check(const BenchOptions& options) {
  const auto at_least = [](const char* what, int64_t least, int64_t got) {
    if (got < least) throw Error(Errc::kBadArgument, "{}: wanted at least {}, got {}", what, least, got);
  };
  at_least("prompt-tokens", 1, options.prompt_tokens);
  at_least("max-tokens", 1, options.max_tokens);
  at_least("rounds", 1, options.rounds);
  at_least("threads", 0, options.threads);
  if (options.formats.empty()) throw Error(Errc::kBadArgument, "formats: wanted at least one");
  if (options.batches.empty()) throw Error(Errc::kBadArgument, "batch: wanted at least one");
  for (const int64_t batch : options.batches) at_least("batch", 1, batch);
}

EngineOptions sized(const BenchOptions& options) {
  EngineOptions engine = options.engine;
  const int64_t largest = std::ranges::max(options.batches);
  if (engine.max_model_len == 0) engine.max_model_len = options.prompt_tokens + options.max_tokens;
  engine.max_num_seqs = static_cast<int32_t>(std::max<int64_t>(engine.max_num_seqs, largest));
  engine.max_num_batched_tokens = std::max(engine.max_num_batched_tokens, engine.max_num_seqs);
  engine.nearest_codes = true;
  return engine;
}

std::vector<std::vector<int32_t>> random_prompts(int64_t batch, int64_t n_tokens, int64_t vocab_size) {
  std::vector<std::vector<int32_t>> prompts(static_cast<size_t>(batch));
  std::mt19937 random(1);
  for (std::vector<int32_t>& prompt : prompts)
    for (int64_t i = 0; i < n_tokens; ++i)
      prompt.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(vocab_size)));
  return prompts;
}

class Bench {
 public:
  Bench(const BenchOptions& options, const CompareEvents& events);
  void predict_all();
  void load_engines();
  void measure();
  Record take_record() { return std::move(record_); }

 private:
  void describe();
  void calibrate();
  void check_room(const Contender& contender) const;
  RecordRun& run_of(size_t contender, size_t batch) {
    return record_.runs[contender * options_.batches.size() + batch];
  }
  void tell(std::string_view what, int64_t done, int64_t total) const {
    if (events_.on_progress) events_.on_progress(what, done, total);
  }

  const BenchOptions& options_;
  const CompareEvents& events_;
  EngineOptions engine_options_;
  const Subject subject_;
  const Target target_;
  const EngineLimits limits_;
  const DeviceBudget budget_;
  std::vector<Contender> contenders_;
  std::shared_ptr<ThreadPool> threads_;
  std::shared_ptr<KvMemory> kv_memory_;  // the engines take turns
  HardwareProfile hardware_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<NamedEngine> named_;
  Record record_;
};

Bench::Bench(const BenchOptions& options, const CompareEvents& events)
    : options_(options),
      events_(events),
      engine_options_((check(options), sized(options))),
      subject_(read_subject(options.engine.model)),
      target_(engine_target(engine_options_)),
      limits_(engine_limits(engine_options_, subject_.spec)),
      budget_(device_budget(engine_options_)),
      kv_memory_(make_kv_memory(engine_options_)) {
  record_.started = utc_now();
  for (const std::string& name : options.formats) {
    const Contender& contender = contenders_.emplace_back(make_contender(engine_options_, subject_, name));
    check_format_fits(contender.spec, contender.format, target_);
    check_room(contender);
  }
  threads_ = std::make_shared<ThreadPool>(options.threads);
  hardware_ = known_machine(options.hardware, target_, contenders_, *threads_,
                            [this](const std::string& what, int done, int total) { tell(what, done, total); });
  calibrate();
  describe();
}

// Scales of static activations and of an fp8 KV cache must be some; which, no figure here depends on.
void Bench::calibrate() {
  constexpr size_t kTexts = 2;
  if (!std::ranges::any_of(contenders_, [](const Contender& c) { return needs_calibration(c.format); })) return;
  engine_options_.calibration = read_calibration_texts(find_data_directory(options_.eval_data));
  engine_options_.calibration.resize(std::min(engine_options_.calibration.size(), kTexts));
}

// The largest batch must run as one: where requests wait for blocks, it is another batch that is measured.
void Bench::check_room(const Contender& c) const {
  const MemoryBreakdown memory = memory_ledger(c.spec, c.format, limits_, target_, budget_.device_memory_bytes,
                                               budget_.utilization, budget_.runtime_bytes);
  const int64_t blocks = blocks_that_fit(fmt::format("{} in {}", c.path.string(), c.format.name), budget_, memory,
                                         limits_, kv_layout(c.spec, c.format, limits_.block_size).block_bytes());
  const int64_t batch = std::ranges::max(options_.batches), length = options_.prompt_tokens + options_.max_tokens;
  const int64_t wanted = batch * ((length + limits_.block_size - 1) / limits_.block_size);
  if (blocks < wanted)
    throw Error(
        Errc::kNoMemory,
        "{} in {}: a batch of {} with {} tokens each takes {} KV blocks: got room for {}; --device-memory gives "
        "more",
        c.path.string(), c.format.name, batch, length, wanted, blocks);
}

void Bench::describe() {
  record_.version = options_.version;
  record_.commit = options_.commit;
  record_.model = {subject_.directory.string(), subject_.spec.architecture,
                   std::string(dense_scheme(subject_.spec.dtype).info().name), subject_.spec.n_parameters()};
  record_.hardware = record_of(hardware_);
  const int64_t largest = std::ranges::max(options_.batches);
  record_.workload = {.prompts = largest,
                      .prompt_tokens = largest * options_.prompt_tokens,
                      .max_tokens = options_.max_tokens,
                      .temperature = 0,
                      .device_memory_bytes = budget_.device_memory_bytes,
                      .utilization = budget_.utilization,
                      .block_size = limits_.block_size,
                      .max_model_len = limits_.max_model_len,
                      .max_num_seqs = limits_.max_num_seqs,
                      .max_num_batched_tokens = limits_.max_num_batched_tokens,
                      .rounds = options_.rounds};
}

void Bench::predict_all() {
  for (const Contender& c : contenders_)
    for (const int64_t batch : options_.batches) {
      const KernelPlan plan = plan_on(scheme(c.format.scheme), target_);
      RecordRun run;
      run.format = c.name;
      run.batch = batch;
      run.kernel = {plan.requested, plan.executed, {}};
      const Workload workload{std::vector<int64_t>(static_cast<size_t>(batch), options_.prompt_tokens),
                              options_.max_tokens};
      run.predicted = predict({c.spec, c.format, hardware_, limits_, workload, budget_.device_memory_bytes,
                               budget_.utilization, target_, hardware_.threads, budget_.runtime_bytes});
      record_.runs.push_back(std::move(run));
    }
  record_.predicted_at = utc_now();
}

void Bench::load_engines() {
  for (size_t i = 0; i < contenders_.size(); ++i) {
    EngineOptions options = engine_options_;
    options.model = contenders_[i].path;
    options.format = contenders_[i].format.name;
    options.threads = threads_;
    options.kv_memory = kv_memory_;
    options.on_progress = [this, name = contenders_[i].name](const std::string& what, int done, int total) {
      tell(fmt::format("loading {}: {}", name, what), done, total);
    };
    engines_.push_back(make_engine(options));
    const EngineInfo& info = engines_.back()->info();
    named_.push_back({contenders_[i].name, engines_.back().get()});
    for (size_t b = 0; b < options_.batches.size(); ++b)
      run_of(i, b).kernel = {info.requested, info.executed, info.kernel_lines};
  }
  record_.kv_buffer_bytes = kv_memory_->bytes();
}

void Bench::measure() {
  record_.measured_from = utc_now();
  SpeedLog speed(hardware_, *threads_);
  int64_t largest = 0;
  for (const auto& engine : engines_) largest = std::max(largest, engine->info().memory.weights_bytes);
  const ReadProbe memory(target_.is_gpu() ? 0 : std::min(largest, kMostProbeBytes));
  for (size_t b = 0; b < options_.batches.size(); ++b) {
    const int64_t batch = options_.batches[b];
    const auto prompts = random_prompts(batch, options_.prompt_tokens, subject_.spec.vocab_size);
    std::vector<std::vector<double>> reads(engines_.size());
    const auto between_rounds = [&] {
      speed.probe();
      for (size_t i = 0; i < engines_.size(); ++i) {
        const int64_t bytes = std::min(engines_[i]->info().memory.weights_bytes, kMostProbeBytes);
        reads[i].push_back(target_.is_gpu() ? hardware_.read_bandwidth_bytes_per_s(hardware_.threads, bytes)
                                            : memory.bytes_per_s(*threads_, bytes));
      }
    };
    const std::vector<Throughput> measured =
        measure_throughput(named_, prompts,
                           {.max_tokens = options_.max_tokens,
                            .rounds = options_.rounds,
                            .warmup_tokens = std::min(options_.max_tokens, kWarmupTokens),
                            .profile = options_.profile,
                            .between_rounds = between_rounds},
                           events_.on_progress);
    for (size_t i = 0; i < contenders_.size(); ++i) {
      const Throughput& t = measured[i];
      const Capacity capacity = measure_capacity(engines_[i]->info());
      RecordRun& run = run_of(i, b);
      run.measured = RecordMeasured{.generation_tokens_per_s = t.generation_tokens_per_s,
                                    .decode_tokens_per_s = t.decode_tokens_per_s,
                                    .prompt_tokens_per_s = t.prompt_tokens_per_s,
                                    .ttft_s = t.ttft_s,
                                    .itl_s = t.itl_s,
                                    .ratio_to_baseline = t.ratio_to_baseline,
                                    .kv_blocks = capacity.kv_blocks,
                                    .kv_cache_tokens = capacity.kv_cache_tokens,
                                    .block_bytes = capacity.block_bytes,
                                    .memory = capacity.memory,
                                    .quality = {}};
      HardwareProfile now = hardware_;  // with the bandwidth between these rounds
      now.read_bandwidth = {{capacity.memory.weights_bytes, hardware_.threads, median(reads[i])}};
      const WorkloadFloor floor = workload_floor(contenders_[i].spec, contenders_[i].format, now, target_, limits_,
                                                 batch, options_.prompt_tokens, options_.max_tokens);
      run.floor = floor.record;
      if (options_.profile) run.profile = profile_record(t.profiles, floor);
    }
  }
  record_.hardware.speed = speed.take();
}

}  // namespace

Record run_bench(const BenchOptions& options, const CompareEvents& events) {
  Bench bench(options, events);
  bench.predict_all();
  bench.load_engines();
  bench.measure();
  return bench.take_record();
}

}  // namespace trimeter
