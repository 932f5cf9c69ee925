// trimeter generate: text out.
#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <optional>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "lab/device_memory.h"
#include "lab/subject.h"
#include "report/text.h"

namespace trimeter {
namespace {

struct Flags {
  DeviceFlags device;
  std::string prompt, system, format;
  bool chat = false;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int32_t> top_k;
  SamplingParams sampling{.max_tokens = 128};
};

// CLI11 takes -1 for the largest seed, and that for all above. Empty: it is one.
std::string is_seed(const std::string& text) {
  uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  if (error == std::errc() && end == text.data() + text.size()) return "";
  return fmt::format("wanted an integer from 0 to 2^64 - 1, got '{}'", text);
}

SamplingParams sampling_of(const Flags& flags, const Subject& subject) {
  SamplingParams params = default_sampling(subject.generation);
  params.temperature = flags.temperature.value_or(params.temperature);
  params.top_k = flags.top_k.value_or(params.top_k);
  params.top_p = flags.top_p.value_or(params.top_p);
  params.min_p = flags.min_p.value_or(params.min_p);
  params.repetition_penalty = flags.repetition_penalty.value_or(params.repetition_penalty);
  params.seed = flags.sampling.seed;
  params.max_tokens = flags.sampling.max_tokens;
  params.ignore_eos = flags.sampling.ignore_eos;
  params.stop = flags.sampling.stop;
  params.logprobs = flags.sampling.logprobs;
  return params;
}

std::vector<int32_t> encode(const Flags& flags, const Subject& subject) {
  if (!flags.chat) return subject.encode_text(flags.prompt);
  std::vector<ChatMessage> messages;
  if (!flags.system.empty()) messages.push_back({"system", flags.system});
  messages.push_back({"user", flags.prompt});
  return subject.encode_chat(messages);
}

void print_logprobs(const RequestOutput& output, const Engine& engine) {
  for (const std::vector<TokenLogprob>& row : output.logprobs) {
    std::string line;
    for (const TokenLogprob& t : row)
      line += fmt::format("{}{} {:.4f}", line.empty() ? "" : "   ", one_line(engine.decode({&t.token, 1}, false)),
                          t.logprob);
    fmt::print(stderr, "{}\n", line);
  }
}

void print_statistics(const RequestOutput& output) {
  const size_t n = output.tokens.size();
  const double first_s = n > 0 ? output.token_s.front() - output.arrival_s : 0;
  const double decode_s = n > 1 ? output.token_s.back() - output.token_s.front() : 0;
  std::string line = fmt::format("{} prompt tokens, first token after {}; {} generated", output.n_prompt_tokens,
                                 time_text(first_s), n);
  if (decode_s > 0) line += fmt::format(", {} tok/s", rate_text(static_cast<double>(n - 1) / decode_s));
  fmt::print(stderr, "{}; stopped by {}\n", line,
             output.finish == FinishReason::kStop ? "the model or a stop string" : "length");
}

void generate(const Flags& flags) {
  if (!flags.system.empty() && !flags.chat)
    throw Error(Errc::kBadArgument, "--system is part of a chat: give --chat, too");
  const Subject subject = read_subject(flags.device.model);
  const SamplingParams sampling = sampling_of(flags, subject);
  const std::vector<int32_t> prompt = encode(flags, subject);
  EngineOptions options = engine_options_for(flags.device, flags.format);
  fit_device_memory(options, subject.spec, 1);
  const std::unique_ptr<Engine> engine = make_engine(options);
  const auto to_stdout = [](std::string_view text) { print(std::string(text)); };
  const std::vector<RequestOutput> outputs = engine->generate({{"generate", prompt, sampling, to_stdout}});
  print("\n");
  print_logprobs(outputs[0], *engine);
  print_statistics(outputs[0]);
}

}  // namespace

void add_generate(CLI::App& program) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = program.add_subcommand("generate", "text out; the chat template applied with --chat");
  flags->device.add_to(*command, "what one sequence needs");
  command->add_option("-p,--prompt", flags->prompt, "the prompt")->required();
  command->add_flag("--chat", flags->chat, "put the prompt through the model's chat template");
  command->add_option("--system", flags->system, "the chat's system message");
  command->add_option("--format", flags->format, kFormatHelp);
  const char* group = "Sampling (vLLM's names; defaults from generation_config.json, else greedy)";
  SamplingParams& sampling = flags->sampling;
  command->add_option("--temperature", flags->temperature, "0: greedy")->group(group);
  command->add_option("--top-k", flags->top_k, "0: all")->group(group);
  command->add_option("--top-p", flags->top_p)->group(group);
  command->add_option("--min-p", flags->min_p)->group(group);
  command->add_option("--repetition-penalty", flags->repetition_penalty)->group(group);
  command->add_option("--seed", sampling.seed, "same seed, same text")->check(is_seed)->group(group);
  command->add_option("--stop", sampling.stop, "text that ends the output; may be given again")
      ->allow_extra_args(false)
      ->group(group);
  command->add_option("--max-tokens", sampling.max_tokens)->capture_default_str()->group(group);
  command->add_flag("--ignore-eos", sampling.ignore_eos, "go on behind the end-of-text token")->group(group);
  command->add_option("--logprobs", sampling.logprobs, "show each token's and the n likeliest tokens' on stderr")
      ->group(group);
  command->footer(
      "Examples:\n"
      "  trimeter generate models/demo -p \"It was late in the autumn when\"\n"
      "  trimeter generate models/demo --chat -p \"A farmer has 12 cows and buys 5 more. How many cows does he "
      "have?\"\n"
      "  trimeter generate models/demo --format awq --temperature 0.8 --top-p 0.95 --seed 7 -p \"The old sailor\"");
  command->callback([flags] { generate(*flags); });
}

}  // namespace trimeter
