// The memory ledger, term by term in bytes: a reader can redo the division that gives the blocks.
#include <fmt/format.h>

#include <cmath>
#include <functional>

#include "report/sections.h"
#include "report/text.h"

namespace trimeter {
namespace {

constexpr size_t kFormatsPerTable = 4;  // what 100 columns hold when weights have twelve digits

struct Term {
  const char* title;
  std::function<int64_t(const MemoryBreakdown&)> bytes;
};

const std::vector<Term>& terms() {
  static const std::vector<Term> kTerms{
      {"- weights", [](const auto& m) { return m.weights_bytes; }},
      {"    linear layers", [](const auto& m) { return m.linear_bytes; }},
      {"      of which scales, zeros", [](const auto& m) { return m.scales_bytes; }},
      {"    embedding, lm_head", [](const auto& m) { return m.embedding_bytes; }},
      {"    norms, biases", [](const auto& m) { return m.norm_bytes; }},
      {"- activations, peak", [](const auto& m) { return m.activation_bytes; }},
      {"- tables, bookkeeping", [](const auto& m) { return m.overhead_bytes; }},
  };
  return kTerms;
}

const MemoryBreakdown& told(const RecordRun& run) { return run.measured ? run.measured->memory : run.predicted.memory; }

Table ledger(const Record& record, size_t begin, size_t end) {
  const auto budget = static_cast<int64_t>(
      std::floor(static_cast<double>(record.workload.device_memory_bytes) * record.workload.utilization));
  Table table;
  table.columns = {{"", "bytes", Align::kLeft}};
  std::vector<Cell> budgets{{"device memory x utilization"}}, rest{{"= left for the KV cache"}},
      block{{"/ bytes of a block"}}, blocks{{"= KV blocks", Tone::kStrong}}, taken{{"pool, as taken"}};
  for (size_t i = begin; i < end; ++i) {
    const RecordRun& run = record.runs[i];
    const MemoryBreakdown& m = told(run);
    table.columns.push_back({"", run.measured ? run.format : run.format + ", predicted"});
    budgets.push_back({with_commas(budget)});
    rest.push_back({with_commas(budget - m.weights_bytes - m.activation_bytes - m.overhead_bytes)});
    const int64_t n_blocks = run.measured ? run.measured->kv_blocks : run.predicted.kv_blocks;
    block.push_back({n_blocks > 0 ? with_commas(m.kv_bytes / n_blocks) : ""});
    blocks.push_back({with_commas(n_blocks), Tone::kStrong});
    taken.push_back({with_commas(m.kv_bytes)});
  }
  table.add(std::move(budgets));
  for (const Term& term : terms()) {
    std::vector<Cell> row{{term.title}}, predicted{{"      predicted", Tone::kFaint}};
    bool differs = false;
    for (size_t i = begin; i < end; ++i) {
      const int64_t here = term.bytes(told(record.runs[i])), before = term.bytes(record.runs[i].predicted.memory);
      row.push_back({with_commas(here)});
      predicted.push_back({here == before ? "" : with_commas(before), Tone::kFaint});
      differs |= here != before;
    }
    table.add(std::move(row));
    if (differs) table.add(std::move(predicted));
  }
  table.add(std::move(rest));
  table.add(std::move(block));
  table.add(std::move(blocks));
  table.add(std::move(taken));
  return table;
}

}  // namespace

Section memory_section(const Record& record) {
  Section section{"Memory", "as measured; predicted where that differs", {}};
  for (size_t begin = 0; begin < record.runs.size(); begin += kFormatsPerTable)
    section.parts.push_back(ledger(record, begin, std::min(begin + kFormatsPerTable, record.runs.size())));
  if (record.kv_buffer_bytes && record.runs.size() > 1)
    section.parts.push_back(Items{{"", fmt::format("The pools take turns in one buffer of {} bytes, the largest one's.",
                                                   with_commas(*record.kv_buffer_bytes))}});
  return section;
}

}  // namespace trimeter
