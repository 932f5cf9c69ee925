// trimeter compare: the lab.
#include "lab/compare.h"

#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/version.h"
#include "lab/output_file.h"
#include "report/comparison.h"
#include "report/markdown.h"

namespace trimeter {
namespace {

struct Flags {
  DeviceFlags device;
  CompareOptions compare;
  std::vector<std::string> formats;  // as given: each one or more, with commas between
  std::string objective = "throughput", json, markdown;
  bool no_quality = false, force = false;
};

void compare(Flags& flags) {
  CompareOptions& options = flags.compare;
  options.formats = names_in(flags.formats, flags.device.lm_head);
  std::optional<OutputFile> json, markdown;
  open_outputs(flags.json, flags.markdown, flags.force, json, markdown);
  options.engine = flags.device.engine_options();
  options.threads = flags.device.threads;
  options.eval_data = flags.device.eval_data;
  options.objective = objective_from_name(flags.objective);
  options.quality = !flags.no_quality;
  options.version = TRIMETER_VERSION;
  options.commit = TRIMETER_COMMIT;

  Progress progress = stderr_progress();
  CompareEvents events;
  events.on_progress = [&](std::string_view what, int64_t done, int64_t total) {
    progress.update(std::string(what), static_cast<int>(done), static_cast<int>(total));
  };
  events.on_predicted = [&](const Record& record) {
    progress.finish();
    print(prediction_report(record));
    print("\n");
  };
  const Record record = run_compare(options, events);
  progress.finish();
  const Document report = comparison_report(record);
  if (json) json->write(to_json(record));  // before the report, whose reader may quit
  if (markdown) markdown->write(std::string(kMarkdownMark) + "\n" + render_markdown(report));
  print(report);
}

}  // namespace

void add_compare(CLI::App& program) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command =
      program.add_subcommand("compare", "the lab: predict, run each format, three meters, reconcile, verdict");
  flags->device.add_to(*command, "a quarter of the RAM");
  CompareOptions& options = flags->compare;
  command
      ->add_option("--formats", flags->formats,
                   "names from `trimeter formats`, or directories and GGUF files of the model quantized already; "
                   "+kv-fp8 and +kv-int8 go with all of them; the first is the baseline")
      ->allow_extra_args(false)
      ->required();
  command->add_option("--objective", flags->objective, "throughput, latency, capacity or quality")
      ->capture_default_str();
  command->add_option("--json", flags->json, "write the record (docs/record.schema.json)");
  command->add_option("--markdown", flags->markdown, "write the report as Markdown");
  command->add_flag("--force", flags->force, "overwrite files that trimeter did not write");
  command->add_option("--prompts", options.prompts, "prompts of the evaluation set, in turn from its categories")
      ->capture_default_str();
  command->add_option("--max-tokens", options.max_tokens, "new tokens for each prompt")->capture_default_str();
  command->add_option("--rounds", options.rounds, "rounds of the throughput meter, at least 5")->capture_default_str();
  command->add_option("--hardware", options.hardware, "a hardware profile [this machine's, measured if there is none]");
  command->add_flag("--no-quality", flags->no_quality, "leave the third meter out");
  command->footer(
      "Examples:\n"
      "  trimeter compare models/demo --formats bf16,fp8,awq --device-memory 64MiB\n"
      "  trimeter compare models/demo --formats bf16,awq --objective capacity --json record.json --markdown report.md\n"
      "  trimeter compare models/demo --formats bf16,./demo-awq,./demo-awq+kv-fp8");
  command->callback([flags] { compare(*flags); });
}

}  // namespace trimeter
