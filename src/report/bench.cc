#include "report/bench.h"

#include <fmt/format.h>

#include "report/sections.h"
#include "report/text.h"

namespace trimeter {
namespace {

constexpr double kGiga = 1e9;

struct Phase {
  std::string test;
  const Sampled& measured;
  double predicted, floor_tokens_per_s, bytes, operations, tokens;  // bytes and operations of `tokens` tokens
  std::string binds;
};

void add_row(Table& table, const Record& record, const RecordRun& run, const Phase& phase) {
  const double rate = phase.measured.median, per_s = rate / phase.tokens;
  table.add({{run.format, Tone::kStrong},
             {bytes_text(run.measured->memory.weights_bytes)},
             {std::to_string(record.hardware.threads)},
             {std::to_string(run.batch.value_or(record.workload.prompts))},
             {phase.test},
             {fmt::format("{} \u00b1 {}", rate_text(rate), rate_text(phase.measured.mad)), Tone::kStrong},
             {rate_text(phase.predicted), Tone::kFaint},
             {fmt::format("{:.1f}", per_s * phase.bytes / kGiga)},
             {fmt::format("{:.1f}", run.floor->read_bandwidth_bytes_per_s / kGiga), Tone::kFaint},
             {fmt::format("{:.0f}", per_s * phase.operations / kGiga)},
             {fmt::format("{:.0f}%", 100 * rate / phase.floor_tokens_per_s)},
             {phase.binds, Tone::kFaint}});
}

Section rates_section(const Record& record) {
  Table table;
  table.columns = {{"", "format", Align::kLeft},
                   {"", "size"},
                   {"", "threads"},
                   {"", "batch"},
                   {"", "test", Align::kLeft},
                   {"", "t/s"},
                   {"", "predicted"},
                   {"", "GB/s"},
                   {"", "of GB/s"},
                   {"", "Gop/s"},
                   {"", "of floor"},
                   {"", "bound", Align::kLeft}};
  const double prompt_tokens =
      static_cast<double>(record.workload.prompt_tokens) / static_cast<double>(record.workload.prompts);
  for (const RecordRun& run : record.runs) {
    if (!run.measured || !run.floor) continue;
    const RecordFloor& floor = *run.floor;
    const auto batch = static_cast<double>(run.batch.value_or(record.workload.prompts));
    add_row(table, record, run,
            {fmt::format("pp{:.0f}", prompt_tokens), run.measured->prompt_tokens_per_s,
             run.predicted.prompt_tokens_per_s, floor.prompt_tokens_per_s, floor.prompt_bytes, floor.prompt_operations,
             batch * prompt_tokens, floor.prompt_binds});
    if (run.measured->decode_tokens_per_s.samples.empty()) continue;
    add_row(table, record, run,
            {fmt::format("tg{}", record.workload.max_tokens), run.measured->decode_tokens_per_s,
             run.predicted.decode_tokens_per_s, floor.decode_tokens_per_s, floor.decode_bytes, floor.decode_operations,
             floor.decode_tokens, floor.decode_binds});
  }
  return {
      "Throughput",
      fmt::format("medians \u00b1 MAD of {} interleaved rounds; GB/s and Gop/s are the ledger's bytes and operations; "
                  "of floor: of what those alone would allow here",
                  record.workload.rounds),
      {table}};
}

std::string ms_text(double seconds) { return fmt::format("{:.3f}", seconds * 1e3); }

std::string per_s_text(double amount, double seconds) {
  return amount > 0 ? fmt::format("{:.1f}", amount / seconds / kGiga) : "";
}

void add_operation(Table& table, const RecordOperation& operation, double phase_s, Tone tone) {
  const double seconds = operation.seconds.median;
  table.add({{operation.name, tone},
             {fmt::format("{:.0f}", operation.calls)},
             {fmt::format("{} \u00b1 {}", ms_text(seconds), ms_text(operation.seconds.mad)), tone},
             {fmt::format("{:.1f}%", 100 * seconds / phase_s)},
             {per_s_text(operation.bytes, seconds)},
             {per_s_text(operation.operations, seconds)},
             {operation.floor_s > 0 ? ms_text(operation.floor_s) : "", Tone::kFaint},
             {operation.floor_s > 0 ? fmt::format("{:.0f}%", 100 * operation.floor_s / seconds) : ""}});
}

Table phase_table(const RecordPhase& phase, double bytes, double operations, double floor_s) {
  Table table;
  table.columns = {{"", "operation", Align::kLeft},
                   {"", "calls"},
                   {"", "ms"},
                   {"", "share"},
                   {"", "GB/s"},
                   {"", "Gop/s"},
                   {"", "floor"},
                   {"", "of floor"}};
  double calls = 0;
  for (const RecordOperation& operation : phase.operations) {
    add_operation(table, operation, phase.seconds.median, Tone::kPlain);
    calls += operation.calls;
  }
  add_operation(table, {"all", calls, phase.seconds, bytes, operations, floor_s}, phase.seconds.median, Tone::kStrong);
  return table;
}

// One for each phase of each run.
void add_profiles(std::vector<Section>& sections, const Record& record) {
  for (const RecordRun& run : record.runs) {
    if (!run.profile || !run.floor) continue;
    const RecordFloor& floor = *run.floor;
    const auto batch = static_cast<double>(run.batch.value_or(record.workload.prompts));
    const double prompt_tokens =
        batch * static_cast<double>(record.workload.prompt_tokens) / static_cast<double>(record.workload.prompts);
    const std::string where = fmt::format("{}, batch {:.0f}", run.format, batch);
    const RecordPhase& prompt = run.profile->prompt;
    sections.push_back({fmt::format("Prefill: {}", where),
                        fmt::format("{:.0f} prompt tokens, all steps ({:.0f}); medians \u00b1 MAD of {} rounds",
                                    prompt_tokens, prompt.steps, prompt.seconds.samples.size()),
                        {phase_table(prompt, floor.prompt_bytes, floor.prompt_operations,
                                     prompt_tokens / floor.prompt_tokens_per_s)}});
    if (!run.profile->decode) continue;
    const RecordPhase& decode = *run.profile->decode;
    sections.push_back({fmt::format("Decode: {}", where),
                        fmt::format("one of {:.0f} steps, {:.1f} tokens each; medians \u00b1 MAD of {} rounds",
                                    decode.steps, floor.decode_tokens, decode.seconds.samples.size()),
                        {phase_table(decode, floor.decode_bytes, floor.decode_operations,
                                     floor.decode_tokens / floor.decode_tokens_per_s)}});
  }
}

// A format's kernels are the same for every batch.
Record each_format_once(Record record) {
  std::vector<RecordRun> runs;
  for (RecordRun& run : record.runs)
    if (runs.empty() || runs.back().format != run.format) runs.push_back(std::move(run));
  record.runs = std::move(runs);
  return record;
}

}  // namespace

Document bench_report(const Record& record) {
  const RecordHardware& h = record.hardware;
  Document document;
  document.title = fmt::format("{}: prompts of {} tokens, {} new", record.model.name,
                               record.workload.prompt_tokens / record.workload.prompts, record.workload.max_tokens);
  std::string rates;
  for (const auto& [arithmetic, rate] : h.rates) rates += fmt::format(", {} {:.0f} Gop/s", arithmetic, rate / kGiga);
  document.subtitles = {fmt::format("{}, {}, {} thread{}; reads {:.1f} GB/s{}", h.name, h.isa, h.threads,
                                    h.threads == 1 ? "" : "s", h.read_bandwidth_bytes_per_s / kGiga, rates)};
  if (h.speed)
    document.subtitles.push_back(fmt::format("between the rounds: arithmetic {:.2f}, bandwidth {:.2f} of that",
                                             h.speed->arithmetic.median, h.speed->bandwidth.median));
  document.sections = {rates_section(record)};
  add_profiles(document.sections, record);
  document.sections.push_back(kernels_section(each_format_once(record)));
  return document;
}

}  // namespace trimeter
