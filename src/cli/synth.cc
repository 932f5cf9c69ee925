// trimeter synth: a checkpoint of a published shape with random weights, to measure speed on.
#include "lab/synth.h"

#include <fmt/ranges.h>

#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "lab/output_directory.h"
#include "lab/quantize_nearest.h"

namespace trimeter {
namespace {

struct Flags {
  std::string shape, format = "bf16";
  std::filesystem::path output;
  uint64_t seed = 0;
  int threads = 0;
  bool force = false;
};

void synth(const Flags& flags) {
  const ModelShape& shape = shape_named(flags.shape);
  const Format wanted = format(flags.format);
  const bool is_bf16 = flags.format == "bf16";
  if (wanted.container == "gguf")
    check_gguf_output(flags.output, flags.force);
  else
    check_output_directory(flags.output, flags.force);
  // Other formats are made of it, and it is removed.
  OutputDirectory dense((flags.output / "").parent_path().string() + (is_bf16 ? "" : ".bf16"), is_bf16 && flags.force);
  const auto pool = std::make_shared<ThreadPool>(flags.threads);
  Progress progress = stderr_progress();
  const auto tell = [&](const std::string& what, int done, int total) { progress.update(what, done, total); };
  write_synthetic(shape, flags.seed, dense.path(), *pool, tell);
  if (is_bf16)
    dense.commit();
  else
    quantize_nearest(dense.path(), wanted, flags.output, flags.force, pool, tell);
  progress.finish();
  print(fmt::format("{}: written: {}, random weights of seed {}, {}{}\n", flags.output.string(), shape.name, flags.seed,
                    flags.format, is_bf16 ? "" : " with nearest codes"));
}

}  // namespace

void add_synth(CLI::App& program) {
  const auto flags = std::make_shared<Flags>();
  std::vector<std::string_view> names;
  for (const ModelShape& shape : all_shapes()) names.push_back(shape.name);
  CLI::App* command = program.add_subcommand(
      "synth", "write a checkpoint of a published shape with random weights, to measure speed on");
  command->add_option("SHAPE", flags->shape, fmt::format("{}", fmt::join(names, ", ")))->required();
  command->add_option("-o,--output", flags->output, "directory to write; a file with a format of GGUF")->required();
  command->add_option("--format", flags->format, "a name from `trimeter formats`")->capture_default_str();
  command->add_option("--seed", flags->seed, "of the weights [0]");
  command->add_flag("--force", flags->force, "replace a model that is there");
  command->add_option("--threads", flags->threads, "threads [one per CPU]")->check(CLI::Range(0, 1024));
  command->footer(
      "Examples:\n"
      "  trimeter synth qwen2.5-0.5b -o qwen-0.5b\n"
      "  trimeter synth qwen2.5-0.5b --format gguf-q4_0 -o qwen-0.5b.gguf\n"
      "  trimeter synth llama-3.2-1b --seed 7 --format awq -o llama-1b-awq");
  command->callback([flags] { synth(*flags); });
}

}  // namespace trimeter
