// trimeter eval: quality alone; in its first form, the perplexity of a text.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "containers/model_path.h"
#include "io/file.h"
#include "lab/device_memory.h"
#include "lab/output_file.h"
#include "meters/perplexity.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

constexpr int32_t kLongestContext = 2048;

struct Flags {
  DeviceFlags device;
  std::string text, format, json;
  CLI::Option* json_option = nullptr;
  int32_t context = 0;
  bool force = false;
};

std::string read_text(const std::string& path) {
  std::string text = read_file(path);
  try {
    require_utf8(text);
  } catch (const Error& error) {
    throw Error(error.code(), "{}: {}", path, error.what());
  }
  return text;
}

void eval(const Flags& flags) {
  std::optional<OutputFile> file;
  if (!flags.json.empty()) file.emplace(flags.json, kPerplexityMark, flags.force);
  const std::string text = read_text(flags.text);
  EngineOptions options = engine_options_for(flags.device, flags.format);
  fit_device_memory(options, open_model_spec(flags.device.model), options.max_num_seqs);
  const std::unique_ptr<Engine> engine = make_engine(options);
  const EngineInfo& info = engine->info();
  const int32_t context = flags.context ? flags.context : std::min(info.max_model_len, kLongestContext);

  Progress progress = stderr_progress();
  const Perplexity p = measure_perplexity(
      *engine, engine->encode(text, false), context, [&](std::string_view what, int64_t done, int64_t total) {
        progress.update(std::string(what), static_cast<int>(done), static_cast<int>(total));
      });
  progress.finish();
  if (flags.json_option->count() == 0) {
    print(fmt::format("perplexity {:.4f}{}  ({:.6f} nats/token over {} tokens of {}; windows of {}; {} in {})\n",
                      p.perplexity, p.perplexity_se ? fmt::format(" \u00b1{:.4f}", *p.perplexity_se) : "", p.nll,
                      p.tokens_scored, flags.text, context, flags.device.model, info.format));
    return;
  }
  nlohmann::ordered_json json;
  json["perplexity"] = p.perplexity;
  json["perplexity_se"] = p.perplexity_se ? nlohmann::ordered_json(*p.perplexity_se) : nullptr;
  json["nll"] = p.nll;
  json["tokens_scored"] = p.tokens_scored;
  json["windows"] = p.windows;
  json["context"] = context;
  json["format"] = info.format;
  json["model"] = flags.device.model;
  json["text"] = flags.text;
  const std::string content = json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  file ? file->write(content) : print(content);
}

}  // namespace

void add_eval(CLI::App& program) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = program.add_subcommand("eval", "perplexity of a text");
  flags->device.add_to(*command, "what a batch needs");
  command->add_option("--text", flags->text, "the text, UTF-8")->required();
  command->add_option("--context", flags->context, "tokens of a window [the model's length, at most 2048]")
      ->check(CLI::PositiveNumber);
  command->add_option("--format", flags->format, kFormatHelp);
  flags->json_option =
      command->add_option("--json", flags->json, "JSON to this file, or to standard output")->expected(0, 1);
  command->add_flag("--force", flags->force, "overwrite a file that trimeter did not write");
  command->footer(
      "The text is cut into consecutive windows, no token is added, and every token but a window's first is scored.\n\n"
      "Examples:\n"
      "  trimeter eval models/demo --text book.txt\n"
      "  trimeter eval models/demo --text book.txt --context 256 --format awq --json");
  command->callback([flags] { eval(*flags); });
}

}  // namespace trimeter
