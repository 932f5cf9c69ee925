#include "lab/compare.h"

#include <algorithm>
#include <set>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/log.h"
#include "cost/predict.h"
#include "cost/reconcile.h"
#include "lab/contender.h"
#include "lab/evaluation_set.h"
#include "lab/known_machine.h"
#include "lab/subject.h"
#include "meters/capacity.h"
#include "meters/quality.h"
#include "meters/throughput.h"
#include "schemes/gpu_plan.h"

namespace trimeter {
namespace {

constexpr int kLeastRounds = 5;

void check_at_least(const char* what, int64_t least, int64_t got) {
  if (got < least) throw Error(Errc::kBadArgument, "{}: wanted at least {}, got {}", what, least, got);
}

class Comparison {
 public:
  Comparison(const CompareOptions& options, const CompareEvents& events);

  void know_machine();
  void predict_all();
  void load_engines();
  void measure();
  void conclude();
  Record take_record() { return std::move(record_); }

 private:
  void check_options() const;
  void encode_workload();
  void encode_passages();
  void describe();
  EngineOptions engine_options(const Contender& contender) const;
  void tell(std::string_view what, int64_t done, int64_t total) const {
    if (events_.on_progress) events_.on_progress(what, done, total);
  }

  const CompareOptions& options_;
  const CompareEvents& events_;
  Subject subject_;
  EvaluationSet set_;
  Target target_;
  EngineLimits limits_;
  DeviceBudget budget_;
  std::vector<QualityPrompt> prompts_;
  std::vector<std::vector<int32_t>> passages_;
  HardwareProfile hardware_;
  std::shared_ptr<ThreadPool> threads_;
  std::shared_ptr<KvMemory> kv_memory_;  // the engines take turns
  std::vector<Contender> contenders_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<NamedEngine> named_;
  Record record_;
};

Comparison::Comparison(const CompareOptions& options, const CompareEvents& events)
    : options_(options),
      events_(events),
      subject_(read_subject(options.engine.model)),
      target_(engine_target(options.engine)),
      kv_memory_(make_kv_memory(options.engine)) {
  check_options();
  set_ = read_evaluation_set(find_data_directory(options.eval_data));
  limits_ = engine_limits(options.engine, subject_.spec);
  budget_ = device_budget(options.engine);
  for (const std::string& name : options.formats) {
    const Contender& c = contenders_.emplace_back(make_contender(options.engine, subject_, name));
    check_format_fits(c.spec, c.format, target_);
    const MemoryBreakdown memory = memory_ledger(c.spec, c.format, limits_, target_, budget_.device_memory_bytes,
                                                 budget_.utilization, budget_.runtime_bytes);
    blocks_that_fit(fmt::format("{} in {}", c.path.string(), c.format.name), budget_, memory, limits_,
                    kv_layout(c.spec, c.format, limits_.block_size).block_bytes());
  }
  encode_workload();
  threads_ = std::make_shared<ThreadPool>(options.threads);
  record_.started = utc_now();
}

void Comparison::check_options() const {
  if (options_.formats.empty()) throw Error(Errc::kBadArgument, "formats: wanted at least one");
  if (std::set<std::string>(options_.formats.begin(), options_.formats.end()).size() != options_.formats.size())
    throw Error(Errc::kBadArgument, "formats: each once, got {}", fmt::join(options_.formats, ","));
  check_at_least("prompts", 1, options_.prompts);
  check_at_least("max-tokens", 1, options_.max_tokens);
  check_at_least("rounds", kLeastRounds, options_.rounds);
  check_at_least("threads", 0, options_.threads);
}

void Comparison::encode_workload() {
  for (const EvaluationPrompt& prompt : interleaved_prompts(set_, static_cast<size_t>(options_.prompts))) {
    std::vector<int32_t> tokens =
        prompt.chat ? subject_.encode_chat({{"user", prompt.prompt}}) : subject_.encode_text(prompt.prompt);
    const auto n_total = static_cast<int64_t>(tokens.size()) + options_.max_tokens;
    if (n_total > limits_.max_model_len)
      throw Error(Errc::kBadArgument, "prompt '{}': {} tokens and {} new ones are more than the model's length {}",
                  prompt.id, tokens.size(), options_.max_tokens, limits_.max_model_len);
    prompts_.push_back({prompt.prompt, std::move(tokens)});
  }
  if (options_.quality) encode_passages();
}

void Comparison::encode_passages() {
  const auto longest = static_cast<size_t>(limits_.max_model_len);
  size_t n_cut = 0;
  for (const EvaluationText& passage : set_.passages) {
    std::vector<int32_t> tokens = subject_.encode_text(passage.text);
    if (tokens.size() < 2)
      throw Error(Errc::kBadArgument, "passage '{}': wanted at least 2 tokens, one to predict another, got {}",
                  passage.id, tokens.size());
    if (tokens.size() > longest) {
      tokens.resize(longest);
      ++n_cut;
    }
    passages_.push_back(std::move(tokens));
  }
  if (n_cut > 0)
    TM_WARN("{} of {} evaluation passages are longer than max_model_len: cut to their first {} tokens", n_cut,
            passages_.size(), longest);
}

void Comparison::know_machine() {
  hardware_ = known_machine(options_.hardware, target_, contenders_, *threads_,
                            [this](const std::string& what, int done, int total) { tell(what, done, total); });
}

void Comparison::describe() {
  record_.version = options_.version;
  record_.commit = options_.commit;
  record_.model = {subject_.directory.string(), subject_.spec.architecture,
                   std::string(dense_scheme(subject_.spec.dtype).info().name), subject_.spec.n_parameters()};
  record_.hardware = record_of(hardware_);
  RecordWorkload& workload = record_.workload;
  workload.prompts = options_.prompts;
  for (const QualityPrompt& prompt : prompts_) workload.prompt_tokens += static_cast<int64_t>(prompt.tokens.size());
  workload.max_tokens = options_.max_tokens;
  workload.device_memory_bytes = budget_.device_memory_bytes;
  workload.utilization = budget_.utilization;
  workload.block_size = limits_.block_size;
  workload.max_model_len = limits_.max_model_len;
  workload.max_num_seqs = limits_.max_num_seqs;
  workload.max_num_batched_tokens = limits_.max_num_batched_tokens;
  workload.rounds = options_.rounds;
}

void Comparison::predict_all() {
  describe();
  Workload workload;
  for (const QualityPrompt& prompt : prompts_)
    workload.prompt_tokens.push_back(static_cast<int64_t>(prompt.tokens.size()));
  workload.max_tokens = options_.max_tokens;
  for (const Contender& c : contenders_) {
    const KernelPlan plan = plan_on(scheme(c.format.scheme), target_);
    RecordRun run;
    run.format = c.name;
    run.kernel = {plan.requested, plan.executed, {}};
    run.predicted = predict({c.spec, c.format, hardware_, limits_, workload, budget_.device_memory_bytes,
                             budget_.utilization, target_, hardware_.threads, budget_.runtime_bytes});
    record_.runs.push_back(std::move(run));
  }
  record_.predicted_at = utc_now();
  if (events_.on_predicted) events_.on_predicted(record_);
}

EngineOptions Comparison::engine_options(const Contender& contender) const {
  EngineOptions options = options_.engine;
  options.model = contender.path;
  options.format = contender.format.name;
  options.calibration = set_.calibration;
  options.threads = threads_;
  options.kv_memory = kv_memory_;
  options.on_progress = [this, name = contender.name](const std::string& what, int done, int total) {
    tell(fmt::format("loading {}: {}", name, what), done, total);
  };
  return options;
}

void Comparison::load_engines() {
  for (size_t i = 0; i < record_.runs.size(); ++i) {
    RecordRun& run = record_.runs[i];
    engines_.push_back(make_engine(engine_options(contenders_[i])));
    named_.push_back({run.format, engines_.back().get()});
    const EngineInfo& info = engines_.back()->info();
    run.kernel = {info.requested, info.executed, info.kernel_lines};
  }
  record_.kv_buffer_bytes = kv_memory_->bytes();
}

void Comparison::measure() {
  record_.measured_from = utc_now();
  std::vector<std::vector<int32_t>> prompts;
  for (const QualityPrompt& prompt : prompts_) prompts.push_back(prompt.tokens);
  SpeedLog speed(hardware_, *threads_);
  const std::vector<Throughput> throughputs = measure_throughput(
      named_, prompts,
      {.max_tokens = options_.max_tokens, .rounds = options_.rounds, .between_rounds = [&] { speed.probe(); }},
      events_.on_progress);
  record_.hardware.speed = speed.take();
  for (size_t i = 0; i < record_.runs.size(); ++i) {
    const Throughput& t = throughputs[i];
    const Capacity capacity = measure_capacity(engines_[i]->info());
    record_.runs[i].measured = RecordMeasured{t.generation_tokens_per_s,
                                              t.decode_tokens_per_s,
                                              t.prompt_tokens_per_s,
                                              t.ttft_s,
                                              t.itl_s,
                                              t.ratio_to_baseline,
                                              capacity.kv_blocks,
                                              capacity.kv_cache_tokens,
                                              capacity.block_bytes,
                                              capacity.memory,
                                              std::optional<RecordQuality>()};
  }
  if (!options_.quality) return;

  QualityWorkload workload;
  workload.prompts = prompts_;
  workload.max_tokens = options_.max_tokens;
  workload.passages = passages_;
  QualityReport quality = measure_quality(named_, workload, events_.on_progress);
  for (size_t i = 0; i < record_.runs.size(); ++i)
    record_.runs[i].measured->quality = std::move(quality.formats[i].quality);
  record_.noise_floor = std::move(quality.noise_floor);
}

void Comparison::conclude() {
  record_.reconciliation = reconcile(record_);
  record_.ordering = compare_orderings(record_);
  record_.verdict = advise(record_, options_.objective);
}

}  // namespace

Record run_compare(const CompareOptions& options, const CompareEvents& events) {
  Comparison comparison(options, events);
  comparison.know_machine();
  comparison.predict_all();
  comparison.load_engines();
  comparison.measure();
  comparison.conclude();
  return comparison.take_record();
}

}  // namespace trimeter
