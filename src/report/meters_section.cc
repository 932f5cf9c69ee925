// The table that the reader came for, and the phases behind its throughput.
#include <fmt/format.h>

#include <sstream>
#include <utility>

#include "record/kernel_lines.h"
#include "record/meter_title.h"
#include "report/sections.h"
#include "report/text.h"

namespace trimeter {
namespace {

constexpr double kNormal95 = 1.96;  // standard errors to either side of a mean that cover 95%

bool is_time(const std::string& meter) { return meter.ends_with("_s") && !meter.ends_with("_per_s"); }

std::string perplexity_text(double perplexity) {
  return perplexity < 1000 ? fmt::format("{:.2f}", perplexity) : significant(perplexity, 4);
}

std::string ratio_text(double ratio) { return fmt::format("{:.3f}", ratio); }

// The quality columns of a measured row: perplexity, KLD mean, KLD p99, top-1. The baseline has no divergence from
// itself.
std::vector<Cell> quality_cells(const RecordQuality& q, bool is_baseline) {
  if (is_baseline) return {{perplexity_text(q.perplexity)}};
  return {{perplexity_text(q.perplexity)},
          {significant(q.kld.mean)},
          {significant(q.kld.p99)},
          {percent(q.top1_agreement)}};
}

void append(std::vector<Cell>& row, std::vector<Cell> cells) {
  for (Cell& cell : cells) row.push_back(std::move(cell));
}

void add_measured(Table& table, const RecordRun& run, bool is_baseline) {
  const RecordMeasured& m = *run.measured;
  std::vector<Cell> row{{run.format, Tone::kStrong},
                        {bytes_text(m.memory.weights_bytes)},
                        {rate_text(m.generation_tokens_per_s.median), Tone::kStrong},
                        {m.ratio_to_baseline ? ratio_text(m.ratio_to_baseline->median) : ""},
                        {with_commas(m.kv_blocks), Tone::kStrong}};
  if (m.quality) append(row, quality_cells(*m.quality, is_baseline));
  table.add(std::move(row));

  const std::string ratio =
      m.ratio_to_baseline ? fmt::format("{:.3f}-{:.3f}", m.ratio_to_baseline->ci95_low, m.ratio_to_baseline->ci95_high)
                          : "";
  table.add({{"  95%", Tone::kFaint},
             {},
             {interval_text("generation_tokens_per_s", m.generation_tokens_per_s), Tone::kFaint},
             {ratio, Tone::kFaint},
             {},
             {m.quality ? "\u00b1" + perplexity_text(kNormal95 * m.quality->perplexity_se) : "", Tone::kFaint}});
}

}  // namespace

std::string meter_text(const std::string& meter, double value) {
  if (value == 0) return "-";
  if (is_time(meter)) return time_text(value);
  return meter.ends_with("_per_s") ? rate_text(value) : with_commas(static_cast<int64_t>(value));
}

std::string interval_text(const std::string& meter, const Sampled& sampled) {
  if (sampled.samples.empty()) return "";
  const std::string low = meter_text(meter, sampled.ci95_low), high = meter_text(meter, sampled.ci95_high);
  const size_t unit = low.find(' ');  // one unit for both ends, where it is the same
  if (unit != std::string::npos && high.ends_with(low.substr(unit))) return low.substr(0, unit) + "-" + high;
  return low + "-" + high;
}

Section meters_section(const Record& record) {
  const std::string baseline = shortened(record.runs.front().format, 10);
  const std::string against = "quality against " + baseline;
  Table table;
  table.columns = {{"", "format", Align::kLeft}, {"", "weights"},      {"generation", "tokens/s"},
                   {"paired", "x " + baseline},  {"", "KV blocks"},    {against, "perplexity"},
                   {against, "KLD mean"},        {against, "KLD p99"}, {against, "top-1"}};
  const RecordPredicted& base = record.runs.front().predicted;
  for (const RecordRun& run : record.runs) {
    const bool is_baseline = &run == &record.runs.front();
    if (run.measured) add_measured(table, run, is_baseline);
    const RecordPredicted& p = run.predicted;
    const bool has_ratio = !is_baseline && base.generation_tokens_per_s > 0;
    table.add({{run.measured ? "  predicted" : run.format + ", predicted", Tone::kFaint},
               {bytes_text(p.memory.weights_bytes), Tone::kFaint},
               {rate_text(p.generation_tokens_per_s), Tone::kFaint},
               {has_ratio ? ratio_text(p.generation_tokens_per_s / base.generation_tokens_per_s) : "", Tone::kFaint},
               {with_commas(p.kv_blocks), Tone::kFaint}});
  }
  if (record.noise_floor) {
    std::vector<Cell> row{{"noise floor", Tone::kFaint}, {}, {}, {}, {}};
    append(row, quality_cells(*record.noise_floor, false));
    for (Cell& cell : row) cell.tone = Tone::kFaint;
    table.add(std::move(row));
  }
  Section section{
      "The three meters", "measured: median and 95% interval; predicted before; paired: in each round", {table}};
  return section;
}

Section phases_section(const Record& record) {
  static const std::vector<std::pair<std::string, Sampled RecordMeasured::*>> kMeasured{
      {"decode_tokens_per_s", &RecordMeasured::decode_tokens_per_s},
      {"prompt_tokens_per_s", &RecordMeasured::prompt_tokens_per_s},
      {"ttft_s", &RecordMeasured::ttft_s},
      {"itl_s", &RecordMeasured::itl_s}};
  Table table;
  table.columns = {{"", "format", Align::kLeft}};
  for (const auto& [meter, field] : kMeasured) table.columns.push_back({"", meter_title(meter)});
  table.columns.push_back({"", "binds", Align::kLeft});
  for (const RecordRun& run : record.runs) {
    if (run.measured) {
      std::vector<Cell> medians{{run.format, Tone::kStrong}}, intervals{{"  95%", Tone::kFaint}};
      for (const auto& [meter, field] : kMeasured) {
        const Sampled& sampled = *run.measured.*field;
        medians.push_back({sampled.samples.empty() ? "" : meter_text(meter, sampled.median)});
        intervals.push_back({interval_text(meter, sampled), Tone::kFaint});
      }
      table.add(std::move(medians));
      table.add(std::move(intervals));
    }
    const RecordPredicted& p = run.predicted;
    table.add({{run.measured ? "  predicted" : run.format + ", predicted", Tone::kFaint},
               {meter_text("decode_tokens_per_s", p.decode_tokens_per_s), Tone::kFaint},
               {meter_text("prompt_tokens_per_s", p.prompt_tokens_per_s), Tone::kFaint},
               {meter_text("ttft_s", p.ttft_s), Tone::kFaint},
               {meter_text("itl_s", p.itl_s), Tone::kFaint},
               {p.binds, Tone::kFaint}});
  }
  return {
      "Phases", "steps with prompt tokens and steps without; time to the first token, and between two tokens", {table}};
}

Section kernels_section(const Record& record) {
  Items items;
  for (const RecordRun& run : record.runs) {
    const RecordKernel& k = run.kernel;
    const bool same = k.requested == k.executed;
    items.push_back({run.format,
                     same ? fmt::format("{} requested and executed", k.requested)
                          : fmt::format("{} requested, {} executed", k.requested, k.executed),
                     same ? Tone::kPlain : Tone::kBad});
    for (const auto& [layers, said] : layers_of_kernels(k.lines))
      items.push_back({"", layers.empty() ? said : layers + ": " + said});
  }
  return {"Kernels", "arithmetic requested by the format and executed on this machine", {items}};
}

Section verdict_section(const Record& record) {
  const RecordVerdict& v = *record.verdict;
  std::string relieves = v.binding_constraint;
  if (relieves == "nothing") relieves = "no constraint: the baseline stays";
  if (relieves == "unpredicted") relieves = "none that the prediction names: its gain was measured, not predicted";
  Items items{{"objective", v.objective}, {"serve", v.format, Tone::kGood}, {"relieves", relieves}};
  std::istringstream lines(v.because);
  std::string label = "because";
  for (std::string line; std::getline(lines, line); label.clear()) items.push_back({label, line});
  return {"Verdict", "", {items}};
}

}  // namespace trimeter
