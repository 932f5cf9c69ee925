#include "cli/common.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <sstream>

#include "base/clock.h"
#include "base/error.h"
#include "containers/model_path.h"
#include "lab/evaluation_set.h"
#include "lab/sizes.h"
#include "model/weights.h"
#include "report/terminal.h"

namespace trimeter {
namespace {

constexpr int32_t kGpuMaxSeqs = 256, kGpuMaxBatchedTokens = 2048;  // vLLM's

std::filesystem::path real_path(const std::string& path) {
  return std::filesystem::weakly_canonical(std::filesystem::absolute(path));
}

}  // namespace

void DeviceFlags::add_to(CLI::App& command, const char* default_memory) {
  command.add_option("MODEL", model, "directory of a Hugging Face checkpoint, or a GGUF file")->required();
  const char* group = "Device";
  const EngineOptions cpu;
  command.add_option("--device", device, "cpu, or cuda: the first card")->capture_default_str()->group(group);
  command
      .add_option(
          "--device-memory", device_memory,
          fmt::format("memory of the device, such as 64MiB or 2GiB [{}; cuda: all of the card's]", default_memory))
      ->group(group);
  command.add_option("--utilization", utilization, "fraction of it that may be used")
      ->capture_default_str()
      ->group(group);
  command.add_option("--block-size", block_size, "tokens of a KV block")->capture_default_str()->group(group);
  command.add_option("--max-model-len", max_model_len, "longest sequence, prompt and output [the model's]")
      ->group(group);
  command
      .add_option("--max-num-seqs", max_num_seqs,
                  fmt::format("sequences of one step [{}; cuda: {}]", cpu.max_num_seqs, kGpuMaxSeqs))
      ->group(group);
  command
      .add_option("--max-num-batched-tokens", max_num_batched_tokens,
                  fmt::format("tokens of one step [{}; cuda: {}]", cpu.max_num_batched_tokens, kGpuMaxBatchedTokens))
      ->group(group);
  command
      .add_option("--lm-head", lm_head,
                  "hold lm_head, and with it a tied embedding, in this format's scheme, nearest codes, where the model "
                  "is quantized while it is loaded; in --formats: NAME+lm_head-FORMAT [16 bits]")
      ->group(group);
  command.add_option("--threads", threads, "threads [one per CPU]")->check(CLI::Range(0, 1024))->group(group);
  command.add_option("--eval-data", eval_data, "directory with eval/ and calibration/ [data/ of the project]")
      ->group(group);
}

EngineOptions DeviceFlags::engine_options() const {
  EngineOptions options;
  options.model = model;
  if (!device_memory.empty()) options.device_memory_bytes = parse_bytes("--device-memory", device_memory);
  options.utilization = utilization;
  options.block_size = block_size;
  options.max_model_len = max_model_len;
  options.device = device;
  const bool on_card = engine_target(options).is_gpu();
  const auto device_default = [&](int32_t flag, int32_t on_cpu, int32_t on_gpu) {
    return flag != 0 ? flag : on_card ? on_gpu : on_cpu;
  };
  options.max_num_seqs = device_default(max_num_seqs, options.max_num_seqs, kGpuMaxSeqs);
  options.max_num_batched_tokens =
      device_default(max_num_batched_tokens, options.max_num_batched_tokens, kGpuMaxBatchedTokens);
  if (threads > 0) options.threads = std::make_shared<ThreadPool>(threads);
  return options;
}

EngineOptions engine_options_for(const DeviceFlags& flags, const std::string& format) {
  EngineOptions options = flags.engine_options();
  options.format = flags.lm_head.empty() ? format : names_in({format}, flags.lm_head).front();
  if (needs_calibration(engine_format(options, open_model_spec(flags.model))))
    options.calibration = read_calibration_texts(find_data_directory(flags.eval_data));
  return options;
}

std::vector<std::string> names_in(const std::vector<std::string>& lists, const std::string& lm_head) {
  std::vector<std::string> names;
  bool changed = false;
  for (const std::string& list : lists) {
    std::istringstream items(list + ",");
    for (std::string name; std::getline(items, name, ',');) {
      if (name.empty()) throw Error(Errc::kBadArgument, "--formats: wanted names with a comma between, got '{}'", list);
      names.push_back(lm_head.empty() ? name : name_with_lm_head(name, lm_head));
      changed = changed || names.back() != name;
    }
  }
  if (!lm_head.empty() && !changed)
    throw Error(Errc::kBadArgument, "--lm-head {}: wanted a format that is quantized here, got {}", lm_head,
                fmt::join(lists, ","));
  return names;
}

void open_outputs(const std::string& json_path, const std::string& markdown_path, bool force,
                  std::optional<OutputFile>& json, std::optional<OutputFile>& markdown) {
  if (!json_path.empty()) json.emplace(json_path, kRecordMark, force);
  if (!markdown_path.empty()) markdown.emplace(markdown_path, kMarkdownMark, force);
  if (json && markdown && real_path(json_path) == real_path(markdown_path))
    throw Error(Errc::kBadArgument, "--json and --markdown: wanted two files, got {} for both", json_path);
}

void check_gguf_output(const std::filesystem::path& path, bool force) {
  if (path.extension() != ".gguf")
    throw Error(Errc::kBadArgument, "{}: wanted the name of a .gguf file", path.string());
  if (std::error_code ignored; std::filesystem::exists(path, ignored) && !force)
    throw Error(Errc::kBadArgument, "{}: it is there already: give --force to replace it", path.string());
}

bool colour_wanted() {
  const char* no_colour = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) && !(no_colour && *no_colour);
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error(Errc::kIo, "standard output: cannot write: {}", std::strerror(errno));
}

void print(const Document& document) { print(render_terminal(document, colour_wanted())); }

Progress stderr_progress() { return Progress(std::cerr, ::isatty(STDERR_FILENO), now_s); }

}  // namespace trimeter
