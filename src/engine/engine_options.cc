#include "base/cpu.h"
#include "base/error.h"
#include "base/gpu.h"
#include "containers/gguf_mixture.h"
#include "containers/model_path.h"
#include "engine/engine.h"
#include "kernels/kv_layout.h"

namespace trimeter {

EngineLimits engine_limits(const EngineOptions& options, const ModelSpec& spec) {
  const int64_t longest = spec.max_position_embeddings;
  const auto want = [](bool ok, std::string_view option, auto got, const std::string& wanted) {
    if (!ok) throw Error(Errc::kBadArgument, "{} = {}: wanted {}", option, got, wanted);
  };
  want(options.block_size > 0 && options.block_size % kKvRun == 0, "block_size", options.block_size,
       fmt::format("a multiple of {}", kKvRun));
  want(options.max_model_len >= 0 && options.max_model_len <= longest, "max_model_len", options.max_model_len,
       fmt::format("1 to the model's max_position_embeddings = {}", longest));
  want(options.max_num_seqs > 0, "max_num_seqs", options.max_num_seqs, "at least 1");
  want(options.max_num_batched_tokens >= options.max_num_seqs, "max_num_batched_tokens", options.max_num_batched_tokens,
       fmt::format("at least max_num_seqs = {}: each sequence needs a token a step", options.max_num_seqs));
  return {.max_model_len = options.max_model_len > 0 ? options.max_model_len : static_cast<int32_t>(longest),
          .max_num_seqs = options.max_num_seqs,
          .max_num_batched_tokens = options.max_num_batched_tokens,
          .block_size = options.block_size};
}

DeviceBudget device_budget(const EngineOptions& options) {
  const bool on_card = engine_target(options).is_gpu();
  const int64_t machine = on_card ? current_gpu().memory_bytes : cpu_info().memory_bytes;
  if (options.device_memory_bytes < 0 || options.device_memory_bytes > machine)
    throw Error(Errc::kBadArgument, "device memory of {} bytes: wanted at most {} {}", options.device_memory_bytes,
                on_card ? "the card's" : "this machine's", machine);
  if (!(options.utilization > 0 && options.utilization <= 1))
    throw Error(Errc::kBadArgument, "utilization = {}: wanted a number in (0, 1]", options.utilization);
  const int64_t device = on_card ? machine : machine / 4;
  return {options.device_memory_bytes > 0 ? options.device_memory_bytes : device, options.utilization,
          on_card ? gpu_runtime_bytes() : 0};
}

Target engine_target(const EngineOptions& options) {
  if (options.device == "cuda") return Target::gpu(current_gpu().compute_capability);
  if (options.device != "cpu")
    throw Error(Errc::kBadArgument, "--device: wanted cpu or cuda, got '{}'", options.device);
  return active_isa();
}

std::shared_ptr<KvMemory> make_kv_memory([[maybe_unused]] const EngineOptions& options) {
#ifdef TM_CUDA
  if (engine_target(options).is_gpu()) return make_device_kv_memory();
#endif
  return std::make_shared<KvMemory>();
}

Format engine_format(const EngineOptions& options, const ModelSpec& spec) {
  const std::string_view wanted = without_kv_format(options.format);
  const bool is_own = options.format.empty() || wanted == kOwnFormat;
  const KvFormat* kv = kv_format_of(options.format);
  if (std::optional<Format> stored = own_format(options.model, spec)) {
    if (options.format == stored->name) return *std::move(stored);
    if (is_own || (kv != nullptr && wanted == without_kv_format(stored->name)))
      return kv == nullptr ? *std::move(stored) : with_kv_cache(options.model, *stored, *kv);
    format(options.format);  // a name that is none is said to be none
    throw Error(Errc::kBadArgument,
                "{}: the checkpoint is quantized already: wanted its own format, '{}', or that with a KV cache in 8 "
                "bits, {}+kv-fp8 or {}+kv-int8, got '{}'",
                options.model.string(), stored->name, kOwnFormat, kOwnFormat, options.format);
  }
  if (!is_own) {
    Format named = with_gguf_mixture(format(options.format), spec);
    if (options.nearest_codes && named.algorithm != "none") named.algorithm = "rtn";
    return named;
  }
  for (const Format& row : all_formats())
    if (row.algorithm == "none" && dense_dtype(spec, row) == spec.dtype)
      return kv == nullptr ? row : with_kv_format(row, *kv);
  throw Error(Errc::kUnsupported, "{}: there is no format for a checkpoint of {}", options.model.string(),
              torch_name(spec.dtype));
}

}  // namespace trimeter
