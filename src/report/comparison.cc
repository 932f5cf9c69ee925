#include "report/comparison.h"

#include <fmt/format.h>

#include "report/sections.h"
#include "report/text.h"

namespace trimeter {
namespace {

std::string parameters_text(int64_t n) {
  return n < 1'000'000'000 ? fmt::format("{:.1f} M", static_cast<double>(n) / 1e6)
                           : fmt::format("{:.1f} B", static_cast<double>(n) / 1e9);
}

std::string sampling_text(double temperature) {
  return temperature == 0 ? "greedy" : fmt::format("temperature {}", temperature);
}

Document headed(const Record& r) {
  Document document;
  document.title = fmt::format("{}: {}, {} parameters, {}", one_line(r.model.name), r.model.architecture,
                               parameters_text(r.model.parameters), r.model.dtype);
  const RecordHardware& h = r.hardware;
  document.subtitles.push_back(fmt::format("machine   {}, {}, {} thread{}, reads {:.1f} GB/s", h.name, h.isa, h.threads,
                                           h.threads == 1 ? "" : "s", h.read_bandwidth_bytes_per_s / 1e9));
  const RecordWorkload& w = r.workload;
  document.subtitles.push_back(fmt::format("workload  {} prompts ({} tokens) x {} new tokens, {}, {} rounds", w.prompts,
                                           with_commas(w.prompt_tokens), w.max_tokens, sampling_text(w.temperature),
                                           w.rounds));
  document.subtitles.push_back(fmt::format("device    {} x {:.2f}, blocks of {} tokens, at most {} sequences of {}",
                                           bytes_text(w.device_memory_bytes), w.utilization, w.block_size,
                                           w.max_num_seqs, with_commas(w.max_model_len)));
  document.subtitles.push_back(fmt::format("trimeter  {} ({}), {}", r.version, r.commit, r.started));
  return document;
}

}  // namespace

Document comparison_report(const Record& record) {
  Document document = headed(record);
  document.sections.push_back(meters_section(record));
  document.sections.push_back(phases_section(record));
  document.sections.push_back(kernels_section(record));
  document.sections.push_back(memory_section(record));
  if (!record.reconciliation.empty()) document.sections.push_back(reconciliation_section(record));
  if (!record.ordering.empty()) document.sections.push_back(ordering_section(record));
  if (record.runs.front().measured && record.runs.front().measured->quality) {
    document.sections.push_back(tails_section(record));
    document.sections.push_back(outputs_section(record));
  }
  if (record.verdict) document.sections.push_back(verdict_section(record));
  return document;
}

Document prediction_report(const Record& record) {
  Document document = headed(record);
  Table table;
  table.columns = {{"", "format", Align::kLeft},
                   {"", "weights"},
                   {"", "tokens/s"},
                   {"", "decode tok/s"},
                   {"", "TTFT"},
                   {"", "ITL"},
                   {"", "KV blocks"},
                   {"", "executes"},
                   {"", "binds", Align::kLeft}};
  for (const RecordRun& run : record.runs) {
    const RecordPredicted& p = run.predicted;
    table.add({{run.format, Tone::kStrong},
               {bytes_text(p.memory.weights_bytes)},
               {rate_text(p.generation_tokens_per_s)},
               {meter_text("decode_tokens_per_s", p.decode_tokens_per_s)},
               {meter_text("ttft_s", p.ttft_s)},
               {meter_text("itl_s", p.itl_s)},
               {with_commas(p.kv_blocks)},
               {p.executed},
               {p.binds}});
  }
  document.sections.push_back({fmt::format("Predicted before any measurement, {}", record.predicted_at), "", {table}});
  return document;
}

}  // namespace trimeter
