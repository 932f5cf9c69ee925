#include "lab/compare.h"

#include <algorithm>
#include <set>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/cpu_wait.h"
#include "base/error.h"
#include "base/log.h"
#include "containers/gguf_model.h"
#include "containers/model_path.h"
#include "cost/predict.h"
#include "cost/reconcile.h"
#include "io/file.h"
#include "io/json.h"
#include "lab/evaluation_set.h"
#include "lab/subject.h"
#include "meters/capacity.h"
#include "meters/quality.h"
#include "meters/throughput.h"
#include "probe/machine_speed.h"
#include "probe/probe.h"

namespace trimeter {
namespace {

constexpr int kLeastRounds = 5;

void check_at_least(const char* what, int64_t least, int64_t got) {
  if (got < least) throw Error(Errc::kBadArgument, "{}: wanted at least {}, got {}", what, least, got);
}

// An entry of --formats: MODEL in a format, or a directory or GGUF file that is quantized already.
struct Contender {
  std::string name;
  std::filesystem::path path;
  ModelSpec spec;
  Format format;
};

void check_same_tokenizer(const Subject& model, const std::filesystem::path& other) {
  if (const char* file = "tokenizer.json"; !is_gguf(model.directory) && !is_gguf(other)) {
    if (read_file(model.directory / file) != read_file(other / file))
      throw Error(Errc::kBadArgument, "{}: wanted the tokenizer of {}, got another", (other / file).string(),
                  model.directory.string());
    return;
  }
  // Ids that no text comes to have a name in a GGUF file, in tokenizer.json they have none.
  const Tokenizer &a = model.tokenizer, b = open_tokenizer(other);
  for (int32_t id = 0; id < std::min(a.vocab_size(), b.vocab_size()); ++id)
    if (const auto x = a.token_bytes(id), y = b.token_bytes(id); !x.empty() && !y.empty() && x != y)
      throw Error(Errc::kBadArgument, "{}: token {}: wanted that of {}, '{}', got '{}'", other.string(), id,
                  model.directory.string(), printable(x), printable(y));
}

// Another model must be MODEL but for its numbers: the same shapes, the same tokenizer.
void check_same_model(const Subject& model, const Contender& other) {
  const auto check = [&](const char* what, const auto& wanted, const auto& got) {
    if (wanted != got)
      throw Error(Errc::kBadArgument, "{}: {}: wanted that of {}, {}, got {}", other.path.string(), what,
                  model.directory.string(), wanted, got);
  };
  const ModelSpec &a = model.spec, &b = other.spec;
  check("architecture", a.architecture, b.architecture);
  check("vocab_size", a.vocab_size, b.vocab_size);
  check("hidden_size", a.hidden_size, b.hidden_size);
  check("intermediate_size", a.intermediate_size, b.intermediate_size);
  check("num_hidden_layers", a.n_layers, b.n_layers);
  check("num_attention_heads", a.n_heads, b.n_heads);
  check("num_key_value_heads", a.n_kv_heads, b.n_kv_heads);
  check("head_dim", a.head_dim, b.head_dim);
  check_same_tokenizer(model, other.path);
}

bool is_path(const std::string& name) {
  std::error_code ignored;
  return name.find('/') != name.npos || is_gguf(name) || std::filesystem::is_directory(name, ignored);
}

// "DIR+kv-fp8": DIR in its own format with another KV cache, unless there is something of the whole name.
void take_path(const std::string& name, EngineOptions& options) {
  const std::filesystem::path model(without_kv_format(name));
  options.model = name;
  std::error_code ignored;
  if (std::filesystem::exists(name, ignored) || !std::filesystem::exists(model, ignored)) return;
  options.model = model;
  options.format = fmt::format("{}+{}", kOwnFormat, kv_format_of(name)->name);
}

Contender make_contender(const EngineOptions& engine, const Subject& model, const std::string& name) {
  EngineOptions options = engine;
  if (!is_path(name) && !is_path(std::string(without_kv_format(name)))) {
    options.format = name;
    return {name, model.directory, model.spec, engine_format(options, model.spec)};
  }
  take_path(name, options);
  Contender contender{name, options.model, open_model_spec(options.model), {}};
  check_same_model(model, contender);
  contender.format = engine_format(options, contender.spec);
  return contender;
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
  EngineLimits limits_;
  DeviceBudget budget_;
  std::vector<QualityPrompt> prompts_;
  std::vector<std::vector<int32_t>> passages_;
  HardwareProfile hardware_;
  std::shared_ptr<ThreadPool> threads_;
  std::shared_ptr<KvMemory> kv_memory_ = std::make_shared<KvMemory>();  // the engines take turns
  std::vector<Contender> contenders_;
  std::vector<std::unique_ptr<Engine>> engines_;
  std::vector<NamedEngine> named_;
  Record record_;
};

Comparison::Comparison(const CompareOptions& options, const CompareEvents& events)
    : options_(options), events_(events), subject_(read_subject(options.engine.model)) {
  check_options();
  set_ = read_evaluation_set(find_data_directory(options.eval_data));
  limits_ = engine_limits(options.engine, subject_.spec);
  budget_ = device_budget(options.engine);
  for (const std::string& name : options.formats) {
    const Contender& c = contenders_.emplace_back(make_contender(options.engine, subject_, name));
    check_format_fits(c.spec, c.format);
    const MemoryBreakdown memory =
        memory_ledger(c.spec, c.format, limits_, active_isa(), budget_.device_memory_bytes, budget_.utilization);
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
  const auto tell_probe = [this](const std::string& what, int done, int total) { tell(what, done, total); };
  if (!options_.hardware.empty()) {
    hardware_ = read_hardware_profile(options_.hardware);
    if (hardware_.isa != name(active_isa()))
      throw Error(Errc::kBadArgument, "{}: isa: wanted {}, which runs here, got {}", options_.hardware,
                  name(active_isa()), hardware_.isa);
    if (hardware_.threads != threads_->size())
      throw Error(Errc::kBadArgument, "{}: threads: wanted {}, as many as run here, got {}", options_.hardware,
                  threads_->size(), hardware_.threads);
    if (hardware_.kernels.empty())
      TM_WARN("{}: no kernels: throughput is predicted from peak rates, and the machine is not probed",
              options_.hardware);
    return;
  }
  std::set<std::string> schemes;
  for (const Contender& c : contenders_)
    for (const std::string& scheme : schemes_of(c.spec, c.format)) schemes.insert(scheme);
  const std::vector<std::string> wanted(schemes.begin(), schemes.end());
  hardware_ = load_or_measure(threads_->size(), wanted, tell_probe);
  const MachineSpeed now = machine_speed(hardware_, *threads_);
  if (describes(now)) return;
  TM_WARN(
      "The machine is not as its profile of {} has it (arithmetic {:.2f}, bandwidth {:.2f}, barriers {:.2f} times as "
      "fast): measuring it anew",
      hardware_.measured_at, now.arithmetic, now.bandwidth, now.barrier);
  hardware_ = measure_and_keep(threads_->size(), wanted, tell_probe);
}

void Comparison::describe() {
  record_.version = options_.version;
  record_.commit = options_.commit;
  record_.model = {subject_.directory.string(), subject_.spec.architecture,
                   std::string(dense_scheme(subject_.spec.dtype).info().name), subject_.spec.n_parameters()};
  int64_t largest = 0;  // what does not fit any cache: the memory's own bandwidth
  for (const BandwidthPoint& point : hardware_.read_bandwidth) largest = std::max(largest, point.working_set_bytes);
  record_.hardware = {
      hardware_.name,   hardware_.kind,         std::string(name(active_isa())),
      threads_->size(), hardware_.memory_bytes, hardware_.read_bandwidth_bytes_per_s(threads_->size(), largest),
      hardware_.rates,  hardware_.measured_at,  {}};
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
    const KernelPlan plan = scheme(c.format.scheme).plan(active_isa());
    RecordRun run;
    run.format = c.name;
    run.kernel = {plan.requested, plan.executed, {}};
    run.predicted = predict({c.spec, c.format, hardware_, limits_, workload, budget_.device_memory_bytes,
                             budget_.utilization, active_isa(), threads_->size()});
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
  std::vector<double> arithmetic, bandwidth, waits;
  double began = 0;
  std::optional<double> waited;  // by the time a round began; the warm-up is none
  const auto probe_speed = [&] {
    if (hardware_.kernels.empty()) return;
    const std::optional<double> now_waited = cpu_wait_s();
    if (waited && now_waited) waits.push_back((*now_waited - *waited) / (threads_->size() * (now_s() - began)));
    const MachineSpeed speed = machine_speed(hardware_, *threads_);
    arithmetic.push_back(speed.arithmetic);
    bandwidth.push_back(speed.bandwidth);
    began = now_s();
    waited = cpu_wait_s();
  };
  const std::vector<Throughput> throughputs = measure_throughput(
      named_, prompts, {.max_tokens = options_.max_tokens, .rounds = options_.rounds, .between_rounds = probe_speed},
      events_.on_progress);
  if (!arithmetic.empty()) {
    record_.hardware.speed = {Sampled::of(std::move(arithmetic)), Sampled::of(std::move(bandwidth)), {}};
    if (!waits.empty()) record_.hardware.speed->cpu_wait = Sampled::of(std::move(waits));
  }
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
