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
             batch, floor.decode_binds});
  }
  return {
      "Throughput",
      fmt::format("medians \u00b1 MAD of {} interleaved rounds; GB/s and Gop/s are the ledger's bytes and operations; "
                  "of floor: of what those alone would allow here",
                  record.workload.rounds),
      {table}};
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
  document.sections = {rates_section(record), kernels_section(each_format_once(record))};
  return document;
}

}  // namespace trimeter
