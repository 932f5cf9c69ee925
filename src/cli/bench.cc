// trimeter bench: throughput and latency alone, over batches.
#include "lab/bench.h"

#include <memory>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/version.h"
#include "lab/output_file.h"
#include "report/bench.h"
#include "report/markdown.h"

namespace trimeter {
namespace {

struct Flags {
  DeviceFlags device;
  BenchOptions bench;
  std::vector<std::string> formats;
  std::string json, markdown;
  bool force = false;
};

void bench(Flags& flags) {
  BenchOptions& options = flags.bench;
  if (options.profile && flags.device.device != "cpu")
    throw Error(Errc::kUnsupported, "--profile: on --device {} a step is one graph, whose operations have no times",
                flags.device.device);
  options.formats = names_in(flags.formats, flags.device.lm_head);
  std::optional<OutputFile> json, markdown;
  open_outputs(flags.json, flags.markdown, flags.force, json, markdown);
  options.engine = flags.device.engine_options();
  options.threads = flags.device.threads;
  options.eval_data = flags.device.eval_data;
  options.version = TRIMETER_VERSION;
  options.commit = TRIMETER_COMMIT;

  Progress progress = stderr_progress();
  CompareEvents events;
  events.on_progress = [&](std::string_view what, int64_t done, int64_t total) {
    progress.update(std::string(what), static_cast<int>(done), static_cast<int>(total));
  };
  const Record record = run_bench(options, events);
  progress.finish();
  const Document report = bench_report(record);
  if (json) json->write(to_json(record));  // before the report, whose reader may quit
  if (markdown) markdown->write(std::string(kMarkdownMark) + "\n" + render_markdown(report));
  print(report);
}

}  // namespace

void add_bench(CLI::App& program) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = program.add_subcommand("bench", "throughput and latency alone, prefill and decode apart");
  flags->device.add_to(*command, "a quarter of the RAM");
  BenchOptions& options = flags->bench;
  command
      ->add_option("--formats", flags->formats,
                   "names from `trimeter formats`, made with their nearest codes, or directories and GGUF files of the "
                   "model quantized already")
      ->allow_extra_args(false)
      ->required();
  command->add_option("--batch", options.batches, "requests at once: one or more numbers, with commas between")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command->add_option("--prompt-tokens", options.prompt_tokens, "of each request")->capture_default_str();
  command->add_option("--max-tokens", options.max_tokens, "new tokens of each")->capture_default_str();
  command
      ->add_option("--rounds", options.rounds,
                   "a run of each format in each; from 5 on the record's intervals cover 95%")
      ->capture_default_str();
  command->add_flag("--profile", options.profile, "the time by operation, beside the floor of each (CPU)");
  command->add_option("--hardware", options.hardware, "a hardware profile [this machine's, measured if there is none]");
  command->add_option("--json", flags->json, "write the record (docs/record.schema.json)");
  command->add_option("--markdown", flags->markdown, "write the table as Markdown");
  command->add_flag("--force", flags->force, "overwrite files that trimeter did not write");
  command->footer(
      "Examples:\n"
      "  trimeter bench models/demo --formats bf16,int8,w4a16 --batch 1,4,16\n"
      "  trimeter bench models/demo --formats bf16 --prompt-tokens 512 --max-tokens 128 --json bench.json\n"
      "  trimeter bench models/demo --formats bf16,int8 --batch 1,16 --profile");
  command->callback([flags] { bench(*flags); });
}

}  // namespace trimeter
