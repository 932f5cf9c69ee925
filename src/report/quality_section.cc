// What the formats did to the model's answers: the tails of the divergence, and outputs side by side.
#include <fmt/format.h>

#include <algorithm>

#include "report/sections.h"
#include "report/text.h"

namespace trimeter {
namespace {

// Prompts are taken in turn from each category of the evaluation set (lab/evaluation_set.h), so the first six are of
// its six kinds.
constexpr size_t kPromptsShown = 6;
constexpr int kOutputColumns = 168;  // of an output, about two lines
constexpr int kGarbageColumns = 80;  // of one that is garbage: enough to see it

std::vector<Cell> tail_row(const std::string& name, const RecordQuality& q, Tone tone) {
  std::vector<Cell> row{{name, Tone::kStrong}};
  for (const double x : {q.kld.p50, q.kld.p90, q.kld.p95, q.kld.p99, q.kld.p999, q.kld.max})
    row.push_back({significant(x)});
  row.push_back({fmt::format("{:+.2f}%", 100 * q.delta_p_mean)});
  row.push_back({fmt::format("{:.2f}%", 100 * q.delta_p_rms)});
  row.push_back({fmt::format("{:.4f} \u00b1{}", q.perplexity_ratio, significant(q.perplexity_ratio_se))});
  if (tone != Tone::kPlain)
    for (Cell& cell : row) cell.tone = tone;
  return row;
}

// A continuation begins with the space that parts it from its prompt.
std::string shown(const std::string& text, int columns) {
  return shortened(one_line(std::string_view(text).substr(text.starts_with(' '))), columns);
}

Item output_item(const RecordRun& run, const RecordOutput& output, const std::string& baseline) {
  if (run.format != baseline && !output.first_divergence) return {run.format, "the same as " + baseline};
  std::string remarks;
  if (output.first_divergence) remarks = fmt::format("differs from token {} on", *output.first_divergence + 1);
  if (output.garbage) remarks += (remarks.empty() ? "garbage: " : "; garbage: ") + output.garbage_reason;
  if (!remarks.empty()) remarks = "[" + remarks + "] ";
  return {run.format, remarks + shown(output.text, output.garbage ? kGarbageColumns : kOutputColumns),
          output.garbage ? Tone::kBad : Tone::kPlain};
}

// How many outputs equal the baseline's, where the others part from it, and which of them are garbage.
std::vector<Cell> agreement_row(const std::string& format, const RecordQuality& q) {
  std::vector<int64_t> divergences;
  for (const RecordOutput& output : q.outputs)
    if (output.first_divergence) divergences.push_back(*output.first_divergence + 1);
  std::sort(divergences.begin(), divergences.end());
  const bool any = !divergences.empty();
  return {{format, Tone::kStrong},
          {fmt::format("{} of {}", q.outputs.size() - divergences.size(), q.outputs.size())},
          {any ? fmt::format("token {}", divergences.front()) : ""},
          {any ? fmt::format("token {}", divergences[divergences.size() / 2]) : ""},
          {std::to_string(q.n_garbage), q.n_garbage ? Tone::kBad : Tone::kPlain}};
}

}  // namespace

Section tails_section(const Record& record) {
  Table table;
  const std::string kld = "KLD from " + shortened(record.runs.front().format, 10) + ", nats";
  table.columns = {{"", "format", Align::kLeft},
                   {kld, "p50"},
                   {kld, "p90"},
                   {kld, "p95"},
                   {kld, "p99"},
                   {kld, "p99.9"},
                   {kld, "max"},
                   {"\u0394p of the true token", "mean"},
                   {"\u0394p of the true token", "RMS"},
                   {"perplexity", "paired ratio"}};
  int64_t n_tokens = 0;
  for (const RecordRun& run : record.runs) {
    if (!run.measured || !run.measured->quality) continue;
    n_tokens = run.measured->quality->tokens_scored;
    if (&run != &record.runs.front()) table.add(tail_row(run.format, *run.measured->quality, Tone::kPlain));
  }
  if (record.noise_floor) table.add(tail_row("noise floor", *record.noise_floor, Tone::kFaint));
  return {"Quality, with its tails",
          fmt::format("{} tokens, teacher-forced; \u0394p: change of probability; \u00b1: standard error",
                      with_commas(n_tokens)),
          {table}};
}

Section outputs_section(const Record& record) {
  const std::string& baseline = record.runs.front().format;
  Table agreement;
  agreement.columns = {{"", "format", Align::kLeft},
                       {"", "same as " + baseline},
                       {"", "first departs at"},
                       {"", "median departure"},
                       {"", "garbage"}};
  for (const RecordRun& run : record.runs)
    if (run.measured && run.measured->quality) agreement.add(agreement_row(run.format, *run.measured->quality));

  const std::vector<RecordOutput>& reference = record.runs.front().measured->quality->outputs;
  const size_t n_shown = std::min(kPromptsShown, reference.size());
  Section section{"Outputs, greedy",
                  fmt::format("below the table {} of {} prompts, of different kinds", n_shown, reference.size()),
                  {}};
  section.parts.push_back(agreement);
  for (size_t i = 0; i < n_shown; ++i) {
    Items items{{"prompt", shown(reference[i].prompt, kOutputColumns), Tone::kFaint}};
    for (const RecordRun& run : record.runs)
      if (run.measured && run.measured->quality && i < run.measured->quality->outputs.size())
        items.push_back(output_item(run, run.measured->quality->outputs[i], baseline));
    section.parts.push_back(items);
  }
  return section;
}

}  // namespace trimeter
