#include "engine/engine.h"

#include <malloc.h>

#include <algorithm>
#include <numeric>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/integers.h"
#include "base/log.h"
#include "containers/gguf_model.h"
#include "containers/model_path.h"
#include "engine/backend.h"
#include "engine/loop.h"
#include "engine/special_tokens.h"
#include "engine/startup_log.h"
#include "io/hf_config.h"
#include "model/kernel_lines.h"
#include "schemes/gpu_plan.h"
#include "text/tokenizer.h"

namespace trimeter {
namespace {

class LocalEngine : public Engine {
 public:
  explicit LocalEngine(const EngineOptions& options);
  ~LocalEngine() override {
    if (!loop_->idle()) memory_->end(memory_user_);
  }

  const EngineInfo& info() const override { return info_; }
  EngineStats stats() const override { return loop_->stats(); }
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const override {
    return tokenizer_.encode(text, add_special_tokens);
  }
  std::string decode(std::span<const int32_t> tokens, bool skip_special_tokens) const override {
    return tokenizer_.decode(tokens, skip_special_tokens);
  }
  void submit(Request request) override { loop_->submit(std::move(request)); }
  StepResult step() override;
  void score(std::span<const std::vector<int32_t>> sequences, int max_batch, const ScoreSink& on_logits) override;
  void reset_prefix_cache() override { loop_->reset_prefix_cache(); }
  void start_profile() override { loop_->start_profile(); }
  EngineProfile take_profile() override { return loop_->take_profile(); }

 private:
  void load(const EngineOptions& options, const Format& format);
  void profile();
  void make_pool(const DeviceBudget& budget);
  void describe(const DeviceBudget& budget);
  GenerationLimits generation_limits(const std::filesystem::path& model) const;

  // At work in the KV memory as long as it lives, and longer if sequences are left in it.
  struct Work {
    explicit Work(LocalEngine& e) : engine(e) {
      if (engine.memory_->begin(engine.memory_user_)) engine.loop_->reset_prefix_cache();
    }
    ~Work() {
      if (engine.loop_->idle()) engine.memory_->end(engine.memory_user_);
    }
    LocalEngine& engine;
  };

  const double begin_s_ = now_s();
  std::string what_;  // "models/demo in fp8", for messages
  ModelSpec spec_;
  EngineLimits limits_;
  Tokenizer tokenizer_;
  GenerationLimits generation_limits_;
  std::shared_ptr<ThreadPool> threads_;
  std::shared_ptr<KvMemory> memory_;
  int memory_user_ = -1;
  Target target_;
  KvLayout layout_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<StepRunner> runner_;
  std::unique_ptr<EngineLoop> loop_;
  EngineInfo info_;
};

LocalEngine::LocalEngine(const EngineOptions& options)
    : spec_(open_model_spec(options.model)),
      limits_(engine_limits(options, spec_)),
      tokenizer_(open_tokenizer(options.model)),
      generation_limits_(generation_limits(options.model)),
      threads_(options.threads ? options.threads : std::make_shared<ThreadPool>()),
      memory_(options.kv_memory ? options.kv_memory : make_kv_memory(options)),
      target_(engine_target(options)) {
  const Format format = engine_format(options, spec_);
  const DeviceBudget budget = device_budget(options);
  what_ = fmt::format("{} in {}", options.model.string(), format.name);
  TM_INFO(
      "Initializing the engine with config: model='{}', format={}, dtype={}, max_seq_len={}, block_size={}, "
      "max_num_seqs={}, max_num_batched_tokens={}, device_memory={}, utilization={}, threads={}, device={}",
      options.model.string(), format.name, torch_name(spec_.dtype), limits_.max_model_len, limits_.block_size,
      limits_.max_num_seqs, limits_.max_num_batched_tokens, budget.device_memory_bytes, budget.utilization,
      threads_->size(), name(target_));
  check_format_fits(spec_, format, target_);
  layout_ = kv_layout(spec_, format, limits_.block_size);
  const MemoryBreakdown predicted = memory_ledger(spec_, format, limits_, target_, budget.device_memory_bytes,
                                                  budget.utilization, budget.runtime_bytes);
  blocks_that_fit(what_, budget, predicted, limits_, layout_.block_bytes());

  TM_INFO("Reading the config and the tokenizer took {:.2f} s", now_s() - begin_s_);
  malloc_trim(0);  // what parsing the tokenizer took is free, but still resident
  load(options, format);
  const double begin_s = now_s();
  profile();
  const double profiled_s = now_s();
  info_.memory = backend_->weights();
  info_.memory.activation_bytes = backend_->activation_bytes();
  make_pool(budget);
  const double ready_s = now_s();
  TM_INFO("The profiling run took {:.2f} s, the KV cache {:.2f} s", profiled_s - begin_s, ready_s - profiled_s);
  describe(budget);
  TM_INFO("{}", init_engine_line(now_s() - begin_s));
}

void LocalEngine::load(const EngineOptions& options, const Format& format) {
  LoadOptions load_options{.calibration = {}, .on_progress = options.on_progress};
  int n_cut = 0;
  for (const std::string& text : options.calibration) {
    std::vector<int32_t> tokens = tokenizer_.encode(text, true);
    if (std::ssize(tokens) > spec_.max_position_embeddings) {
      tokens.resize(static_cast<size_t>(spec_.max_position_embeddings));
      ++n_cut;
    }
    load_options.calibration.push_back(std::move(tokens));
  }
  if (n_cut > 0)
    TM_WARN("{} of {} calibration texts are longer than the model: cut to their first {} tokens", n_cut,
            options.calibration.size(), spec_.max_position_embeddings);
  info_.kernel_lines = kernel_lines(spec_, format, target_);
  for (const std::string& line : kernel_lines_by_kernel(info_.kernel_lines)) TM_INFO("{}", line);
  const double begin_s = now_s();
  const BackendOptions backend{options.model, spec_, format, limits_, std::move(load_options), threads_.get()};
#ifdef TM_CUDA
  if (target_.is_gpu()) backend_ = make_cuda_backend(backend);
#endif
  if (!target_.is_gpu()) backend_ = make_cpu_backend(backend);
  TM_INFO("{}", model_loading_line(backend_->weights().weights_bytes, now_s() - begin_s));
  const KernelPlan plan = plan_on(linear_scheme(spec_, format, spec_.linears_of_layer(0)[0]), target_);
  info_.format = format.name;
  info_.requested = plan.requested;
  info_.executed = plan.executed;
}

// The largest step there can be, with as many rows of logits as fit one call: what it takes is what activations need.
// On the CPU one layer of it takes all of that.
void LocalEngine::profile() {
  const auto n_rows = static_cast<int32_t>(
      std::min<int64_t>(limits_.max_num_batched_tokens, int64_t{limits_.max_num_seqs} * limits_.max_model_len));
  std::vector<StepSeq> seqs;
  std::vector<std::vector<int32_t>> tables;
  int32_t n_blocks = 0;
  for (int32_t row = 0; row < n_rows; row += limits_.max_model_len) {
    const int32_t n = std::min(limits_.max_model_len, n_rows - row);
    tables.emplace_back(static_cast<size_t>(ceil_div(n, limits_.block_size)));
    std::iota(tables.back().begin(), tables.back().end(), n_blocks);
    n_blocks += static_cast<int32_t>(tables.back().size());
    seqs.push_back({row, n, 0, tables.back().data()});
  }
  const std::vector<int32_t> tokens(static_cast<size_t>(n_rows), 0);
  std::vector<int32_t> rows(static_cast<size_t>(std::min(n_rows, limits_.max_num_seqs)));
  std::iota(rows.begin(), rows.end(), 0);
  backend_->profile({tokens, seqs}, rows, n_blocks);
}

void LocalEngine::make_pool(const DeviceBudget& budget) {
  info_.memory.overhead_bytes = overhead_bytes(spec_, limits_, target_);
  if (target_.is_gpu()) {
    info_.memory.overhead_bytes += backend_->context_bytes() + backend_->graph_bytes();
    TM_INFO("{}", gpu_memory_line(info_.memory, backend_->context_bytes(), backend_->graph_bytes()));
  }
  const int64_t n_blocks = blocks_that_fit(what_, budget, info_.memory, limits_, layout_.block_bytes());
  memory_user_ = memory_->add_user(n_blocks * layout_.block_bytes(), *threads_);
  runner_ = backend_->make_runner(*memory_, memory_user_);
  loop_ = std::make_unique<EngineLoop>(
      limits_, n_blocks, generation_limits_,
      [this](int32_t token) {
        return tokenizer_.is_special(token) ? std::string_view() : tokenizer_.token_bytes(token);
      },
      *runner_);
  const int64_t taken = backend_->overhead_bytes() + backend_->context_bytes() + backend_->graph_bytes() +
                        (target_.is_gpu() ? 0 : loop_->overhead_bytes());
  TM_CHECK(taken == info_.memory.overhead_bytes, "{} bytes of overhead were taken, {} counted", taken,
           info_.memory.overhead_bytes);
}

// The pool as it is there, not as it was asked for: the blocks that the scheduler gives out, the bytes they lie in.
void LocalEngine::describe(const DeviceBudget& budget) {
  info_.kv_blocks = loop_->pool().n_blocks();
  info_.memory.kv_bytes = std::ssize(memory_->of(memory_user_));
  info_.device_memory_bytes = budget.device_memory_bytes;
  info_.utilization = budget.utilization;
  info_.block_size = limits_.block_size;
  info_.block_bytes = layout_.block_bytes();
  info_.max_model_len = limits_.max_model_len;
  info_.max_num_seqs = limits_.max_num_seqs;
  info_.max_num_batched_tokens = limits_.max_num_batched_tokens;
  if (target_.is_gpu()) info_.device = "GPU";
  info_.vocab_size = static_cast<int32_t>(spec_.vocab_size);
  for (const std::string& line : kv_cache_lines(info_)) TM_INFO("{}", line);
}

GenerationLimits LocalEngine::generation_limits(const std::filesystem::path& model) const {
  if (is_gguf(model)) {
    const GgufModel file = GgufModel::open(model);
    HfConfig config;
    config.path = model.string();
    config.vocab_size = spec_.vocab_size;
    return {limits_.max_model_len, static_cast<int32_t>(spec_.vocab_size),
            end_tokens(config, file.generation(), tokenizer_)};
  }
  const HfConfig config = read_hf_config(model);
  if (!config.dtype)
    TM_INFO("{}: no dtype is named: {} is taken, as the weights are stored", config.path, torch_name(spec_.dtype));
  return {limits_.max_model_len, static_cast<int32_t>(spec_.vocab_size),
          end_tokens(config, read_hf_generation_config(model), tokenizer_)};
}

Engine::StepResult LocalEngine::step() {
  const Work work(*this);
  try {
    return loop_->step();
  } catch (const Error& error) {
    throw Error(error.code(), "{}: {}", what_, error.what());
  }
}

void LocalEngine::score(std::span<const std::vector<int32_t>> sequences, int max_batch, const ScoreSink& on_logits) {
  const Work work(*this);
  loop_->score(sequences, max_batch, on_logits);
}

}  // namespace

std::unique_ptr<Engine> make_engine(const EngineOptions& options) { return std::make_unique<LocalEngine>(options); }

}  // namespace trimeter
