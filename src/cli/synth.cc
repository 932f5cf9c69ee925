// trimeter synth: a checkpoint of a published shape with random weights, to measure speed on.
#include "lab/synth.h"

#include <fmt/ranges.h>

#include <memory>

#include "cli/commands.h"
#include "cli/common.h"
#include "lab/output_directory.h"
#include "lab/quantize.h"

namespace trimeter {
namespace {

struct Flags {
  std::string shape;
  std::filesystem::path output;
  uint64_t seed = 0;
  int threads = 0;
  bool force = false;
};

void synth(const Flags& flags) {
  const ModelShape& shape = shape_named(flags.shape);
  OutputDirectory directory(flags.output, flags.force);
  ThreadPool pool(flags.threads);
  Progress progress = stderr_progress();
  write_synthetic(shape, flags.seed, directory.path(), pool,
                  [&](const std::string& what, int done, int total) { progress.update(what, done, total); });
  progress.finish();
  directory.commit();
  print(
      fmt::format("{}: written: {}, random weights of seed {}, bf16\n", flags.output.string(), shape.name, flags.seed));
}

}  // namespace

void add_synth(CLI::App& program) {
  const auto flags = std::make_shared<Flags>();
  std::vector<std::string_view> names;
  for (const ModelShape& shape : all_shapes()) names.push_back(shape.name);
  CLI::App* command = program.add_subcommand(
      "synth", "write a checkpoint of a published shape with random weights, to measure speed on");
  command->add_option("SHAPE", flags->shape, fmt::format("{}", fmt::join(names, ", ")))->required();
  command->add_option("-o,--output", flags->output, "directory to write")->required();
  command->add_option("--seed", flags->seed, "of the weights [0]");
  command->add_flag("--force", flags->force, "replace a model that is there");
  command->add_option("--threads", flags->threads, "threads [one per CPU]")->check(CLI::Range(0, 1024));
  command->footer(
      "Examples:\n"
      "  trimeter synth qwen2.5-0.5b -o qwen-0.5b\n"
      "  trimeter synth llama-3.2-1b --seed 7 -o llama-1b");
  command->callback([flags] { synth(*flags); });
}

}  // namespace trimeter
