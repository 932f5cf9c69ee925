// What several commands share: options of the engine, and the terminal.
#pragma once
#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "lab/output_file.h"
#include "report/document.h"
#include "report/progress.h"

namespace trimeter {

struct DeviceFlags {
  std::string model, device = EngineOptions{}.device, device_memory;
  double utilization = EngineOptions{}.utilization;
  int32_t block_size = EngineOptions{}.block_size, max_model_len = 0;
  int32_t max_num_seqs = 0, max_num_batched_tokens = 0;  // 0: the device's
  int threads = 0;
  std::string eval_data;
  std::string lm_head;  // a name of formats.def

  void add_to(CLI::App& command, const char* default_memory);
  // Without a format, and with a thread pool only if `threads` says how large.
  EngineOptions engine_options() const;
};

inline constexpr const char* kFormatHelp =
    "a name from `trimeter formats`, or own+kv-fp8, own+kv-int8: as the checkpoint is, with a KV cache in 8 bits [own]";

// engine_options() with the format, and the calibration texts that it needs.
EngineOptions engine_options_for(const DeviceFlags& flags, const std::string& format);

// Of each "bf16,fp8" that was given; with an --lm-head, as name_with_lm_head() says. Throws Error(kBadArgument) for an
// empty name, and if --lm-head changes none.
std::vector<std::string> names_in(const std::vector<std::string>& lists, const std::string& lm_head);
// Of --json and --markdown, where they are given. Throws Error if they can't be written or are one file.
void open_outputs(const std::string& json_path, const std::string& markdown_path, bool force,
                  std::optional<OutputFile>& json, std::optional<OutputFile>& markdown);
// Where a GGUF file is to be written. Throws Error(kBadArgument) for another name, and a file that is there.
void check_gguf_output(const std::filesystem::path& path, bool force);

bool colour_wanted();                 // stdout is a terminal and NO_COLOR is not set (no-color.org)
void print(const std::string& text);  // to stdout; throws Error(kIo) if it can't be written
void print(const Document& document);
Progress stderr_progress();

}  // namespace trimeter
