// trimeter quantize: a model in another format, as a directory that others load.
#include "lab/quantize.h"

#include <fmt/ranges.h>

#include <map>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "containers/gguf_writer.h"
#include "lab/evaluation_set.h"
#include "lab/output_directory.h"
#include "report/text.h"
#include "spec/ledger.h"

namespace trimeter {
namespace {

constexpr size_t kWorstShown = 10;

struct Flags {
  QuantizeOptions options;
  std::string calibration, eval_data;
  int samples = 0, threads = 0;
};

using Range = ActivationOptions::Range;
const std::map<std::string, Range> kRanges = {
    {"amax", Range::kAmax}, {"percentile", Range::kPercentile}, {"mse", Range::kMse}};

Section sizes_section(const MemoryBreakdown& m, int64_t file_bytes) {
  Table table;
  table.columns = {{"", "weights", Align::kLeft}, {"", "bytes"}, {"", ""}};
  const auto row = [&](const char* what, int64_t bytes) {
    table.add({{what}, {with_commas(bytes)}, {bytes_text(bytes), Tone::kFaint}});
  };
  row("linears: values", m.linear_bytes - m.scales_bytes);
  row("linears: scales", m.scales_bytes);
  row("embedding and lm_head", m.embedding_bytes);
  row("norms and biases", m.norm_bytes);
  row("in memory", m.weights_bytes);
  row("in files", file_bytes);
  return {"Sizes", "", {table}};
}

// A row for each layer, a column for each of its linears.
Table errors_by_layer(const QuantizationReport& report) {
  Table table;
  table.columns = {{"", "layer"}};
  for (const LinearError& error : report.linears) {
    const size_t number = error.module.find("layers."), role = error.module.rfind('.') + 1;
    const std::string layer =
        number == std::string::npos ? "" : std::to_string(std::stoi(error.module.substr(number + 7)));
    if (table.rows.empty() || table.rows.back().front().text != layer) table.add({{layer}});
    if (table.rows.size() == 1) table.columns.push_back({"", error.module.substr(role)});
    table.rows.back().push_back({significant(error.relative_error, 3)});
  }
  return table;
}

// The linears that lose most, and those held in another scheme than the rest.
Section errors_section(const Quantized& quantized) {
  Table table;
  table.columns = {{"", "linear", Align::kLeft}, {"", "scheme", Align::kLeft}, {"", "output error"}};
  const std::vector<LinearError> ranked = quantized.report.ranking();
  for (size_t i = 0; i < std::min(ranked.size(), kWorstShown); ++i)
    table.add({{ranked[i].module}, {ranked[i].scheme}, {significant(ranked[i].relative_error, 3)}});
  return {"Output error",
          fmt::format("of its own squared norm over the calibration, layer by layer; the worst of {} linears",
                      ranked.size()),
          {errors_by_layer(quantized.report), table}};
}

Document document_of(const QuantizeOptions& options, const Format& format, const MemoryBreakdown& memory,
                     int64_t file_bytes) {
  Document document;
  document.title = fmt::format("{}: {}", options.output.string(), options.dry_run ? "nothing written" : "written");
  document.subtitles = {
      fmt::format("{}: {}, {}, written as {}", format.name, format.scheme, format.algorithm, format.container)};
  document.sections.push_back(sizes_section(memory, file_bytes));
  return document;
}

Document document_of(const QuantizeOptions& options, const Quantized& quantized) {
  const QuantizePlan& plan = quantized.plan;
  Document document = document_of(options, plan.format, plan.memory, plan.file_bytes());
  std::vector<std::string> kept;
  for (const auto& [module, scheme] : plan.format.scheme_of_module) kept.push_back(module);
  if (!kept.empty())
    document.subtitles.push_back(
        fmt::format("in 16 bits: {} (q, k and v are kept together, as are gate and up)", fmt::join(kept, ", ")));
  if (!quantized.report.linears.empty())
    document.sections.push_back(errors_section(quantized));
  else if (!options.dry_run)
    document.sections.push_back(
        {"Output error", "", {Items{{"", "not measured: nothing looked at a text; --calibration FILE gives some"}}}});
  return document;
}

void read_calibration(Flags& flags, const Format& format) {
  QuantizeOptions& options = flags.options;
  if (!flags.calibration.empty())
    options.calibration = read_texts_of(flags.calibration);
  else if (options.keep_worst > 0 || needs_calibration(format))
    options.calibration = read_calibration_texts(find_data_directory(flags.eval_data));
  if (flags.samples > 0 && options.calibration.empty())
    throw Error(Errc::kBadArgument,
                "--samples: format {} with algorithm {} looks at no texts; --calibration FILE gives it some",
                options.format, format.algorithm);
  if (flags.samples > 0 && options.calibration.size() > static_cast<size_t>(flags.samples))
    options.calibration.resize(static_cast<size_t>(flags.samples));
}

// A GGUF file: one type, or one of llama-quantize's mixtures, without calibration.
void quantize_to_gguf(const Flags& flags, const Format& format) {
  const QuantizeOptions& options = flags.options;
  const std::pair<bool, const char*> without_use[] = {{options.keep_worst > 0, "--keep-worst"},
                                                      {!flags.calibration.empty(), "--calibration"},
                                                      {flags.samples > 0, "--samples"},
                                                      {!flags.eval_data.empty(), "--eval-data"},
                                                      {flags.threads > 0, "--threads"}};
  for (const auto& [given, option] : without_use)
    if (given)
      throw Error(Errc::kBadArgument,
                  "{}: {} has no place: a GGUF file's types are those of its mixture, its codes the nearest, found in "
                  "one thread",
                  format.name, option);
  check_gguf_output(options.output, options.force);
  const ModelSpec spec = read_model_spec(options.model);
  check_not_quantized(options.model, spec);
  const GgufCheckpoint checkpoint(options.model, gguf_file_type_of(format));
  for (const std::string& difference : checkpoint.tokenizer_differences())
    TM_WARN("{}: its tokenizer does otherwise than tokenizer.json: {}", options.output.string(), difference);
  if (!options.dry_run) {
    Progress progress = stderr_progress();
    checkpoint.write(options.output, [&](int done, int total) { progress.update("tensors", done, total); });
    progress.finish();
  }
  print(document_of(options, format, weight_ledger(spec, with_gguf_mixture(format, spec)), checkpoint.tensor_bytes()));
}

void quantize(Flags& flags) {
  QuantizeOptions& options = flags.options;
  const Format wanted = recipe_format(options);
  if (wanted.container == "gguf") return quantize_to_gguf(flags, wanted);
  check_output_directory(options.output, options.force);
  read_calibration(flags, wanted);
  if (flags.threads > 0) options.threads = std::make_shared<ThreadPool>(flags.threads);
  Progress progress = stderr_progress();
  options.on_progress = [&](const std::string& what, int done, int total) { progress.update(what, done, total); };
  const Quantized quantized = run_quantize(options);
  progress.finish();
  print(document_of(options, quantized));
}

}  // namespace

void add_quantize(CLI::App& program) {
  const auto flags = std::make_shared<Flags>();
  QuantizeOptions& options = flags->options;
  CLI::App* command =
      program.add_subcommand("quantize", "write a model in another format, for vLLM and transformers too");
  command->add_option("MODEL", options.model, "directory of a Hugging Face checkpoint")->required();
  command->add_option("--format", options.format, "a name from `trimeter formats`")->required();
  command->add_option("-o,--output", options.output, "directory to write; a file with a format of GGUF")->required();
  command->add_option(
      "--calibration", flags->calibration,
      "texts: JSON lines with a \"text\", or paragraphs [the project's own, where the format needs them]");
  command->add_option("--samples", flags->samples, "use the first so many of them [all]")
      ->check(CLI::Range(1, 1 << 20));
  command->add_option("--scheme", options.scheme, "grid and scales of the codes, such as int8_static [the format's]");
  command->add_option("--algorithm", options.algorithm,
                      "what chooses the codes: amax, rtn, calibration, awq, gptq, smoothquant, smoothquant+gptq [the "
                      "format's]");
  command->add_option("--container", options.container,
                      "layout of the files: autoawq, gptq, gptq-v2, compressed-tensors or vllm-fp8 [the format's]");
  command->add_option("--group-size", options.group_size, "inputs that share a scale; -1: all [the format's]")
      ->check(CLI::Number & !CLI::IsMember({"0"}));
  command->add_flag_function(
      "--zero-points,!--no-zero-points", [&options](int64_t given) { options.zero_points = given > 0; },
      "codes from the least value to the largest, or symmetric about 0 [the format's]");
  command->add_option("--keep-16bit", options.keep_16bit,
                      "leave linears with such names in 16 bits, such as '*.0.mlp.down_proj'; q, k and v are one "
                      "linear here, as are gate and up: the name of one keeps all; may be repeated");
  command
      ->add_option("--keep-worst", options.keep_worst, "leave so many linears with the largest output error in 16 bits")
      ->check(CLI::Range(0, 1 << 20));
  command->add_flag("--dry-run", options.dry_run, "say what would be written, and its sizes");
  const char* group = "Algorithm";
  command
      ->add_option("--alpha", options.alpha,
                   "SmoothQuant: how much of the activations' range goes into the weights, 0 to 1 [searched]")
      ->group(group);
  command
      ->add_flag(
          "--act-order,--desc-act", options.act_order,
          "GPTQ: round the inputs that matter most first, in groups of their order, which gptqmodel reads and vLLM "
          "no longer")
      ->group(group);
  command
      ->add_flag("--static-groups", options.static_groups,
                 "GPTQ: in that order, but groups of neighbours, which all read")
      ->group(group);
  command->add_flag("--search-range", options.search_range, "GPTQ: shrink ranges where that lowers the error")
      ->group(group);
  command->add_option("--damp", options.damp, "GPTQ: share of the Hessian's mean diagonal added to it [0.01]")
      ->group(group);
  command
      ->add_option("--activation-scale", options.activation_scale, "static activations: amax, percentile or mse [mse]")
      ->transform(CLI::CheckedTransformer(kRanges).description(""))
      ->group(group);
  command->add_option("--percentile", options.percentile, "of --activation-scale percentile [99.99]")->group(group);
  command->add_flag("--force", options.force, "replace a model that is there");
  command->add_option("--threads", flags->threads, "threads [one per CPU]")->check(CLI::Range(0, 1024));
  command->add_option("--eval-data", flags->eval_data, "directory with calibration/ [data/ of the project]");
  command->footer(
      "Examples:\n"
      "  trimeter quantize models/demo --format awq -o demo-awq\n"
      "  trimeter quantize models/demo --format awq --keep-worst 2 --dry-run -o demo-awq\n"
      "  trimeter quantize models/demo --format gguf-q4_k -o demo.gguf\n"
      "  trimeter quantize models/demo --format gptq --act-order --group-size 64 -o demo-gptq\n"
      "  trimeter quantize models/demo --format awq+kv-fp8 --container compressed-tensors -o demo-awq-kv\n"
      "  trimeter quantize models/demo --format int8 --algorithm smoothquant+gptq --alpha 0.5 -o demo-int8\n"
      "  trimeter quantize models/demo --format fp8-static --scheme fp8_e4m3_static -o demo-fp8-static\n"
      "  trimeter quantize models/demo --format fp8 --keep-16bit '*.down_proj' -o demo-fp8");
  command->callback([flags] { quantize(*flags); });
}

}  // namespace trimeter
