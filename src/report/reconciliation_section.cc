// Predicted against measured, and the orderings.
#include <fmt/format.h>

#include "record/meter_title.h"
#include "report/sections.h"
#include "report/text.h"

namespace trimeter {
namespace {

std::string chain(const std::vector<std::string>& formats) {
  std::string text;
  for (const std::string& format : formats) text += (text.empty() ? "" : " > ") + format;
  return text;
}

std::string interval_text(const Sampled& s) {
  return fmt::format("{:.2f} ({:.2f}-{:.2f})", s.median, s.ci95_low, s.ci95_high);
}

struct Miss {
  std::string format, meters, explanation;
};

// Meters of a format that missed for one reason share a line.
void add_miss(const RecordReconciliation& row, std::vector<Miss>& misses) {
  for (Miss& miss : misses)
    if (miss.format == row.format && miss.explanation == row.explanation) {
      miss.meters += ", " + meter_title(row.meter);
      return;
    }
  misses.push_back({row.format, meter_title(row.meter), row.explanation});
}

}  // namespace

Section reconciliation_section(const Record& record) {
  Table table;
  table.columns = {{"", "meter", Align::kLeft}, {"", "format", Align::kLeft},
                   {"", "predicted"},           {"", "measured"},
                   {"", "measured/predicted"},  {"", "band"},
                   {"", "within", Align::kLeft}};
  std::vector<Miss> misses;
  for (const RecordReconciliation& r : record.reconciliation) {
    table.add({{meter_title(r.meter)},
               {r.format},
               {meter_text(r.meter, r.predicted)},
               {meter_text(r.meter, r.measured)},
               {fmt::format("{:.3f}", r.ratio)},
               {fmt::format("\u00b1{:g}%", 100 * r.band), Tone::kFaint},
               {r.within_band ? "yes" : "no", r.within_band ? Tone::kGood : Tone::kBad}});
    if (!r.within_band) add_miss(r, misses);
  }
  Section section{"Reconciliation", "", {table}};
  if (!record.hardware.profiled_at.empty()) section.note = "with the profile of " + record.hardware.profiled_at;
  if (const auto& speed = record.hardware.speed) {
    std::string text = fmt::format("arithmetic {}, read bandwidth {} of its profile's",
                                   interval_text(speed->arithmetic), interval_text(speed->bandwidth));
    if (speed->cpu_wait)
      text += fmt::format("; its threads waited for a CPU {} of the time", interval_text(*speed->cpu_wait));
    section.parts.push_back(Items{{"machine while it was measured", text}});
  }
  Items explanations;
  for (const Miss& miss : misses) explanations.push_back({miss.format, miss.meters + ": " + miss.explanation});
  if (!explanations.empty()) section.parts.push_back(explanations);
  return section;
}

Section ordering_section(const Record& record) {
  Items items;
  for (const auto& [meter, o] : record.ordering) {
    const char* verdict = !o.holds ? "does not hold" : o.predicted == o.measured ? "holds" : "not contradicted";
    std::string text = fmt::format("{}: predicted {}; measured {}", verdict, chain(o.predicted), chain(o.measured));
    if (!o.explanation.empty()) text += "; " + o.explanation;
    items.push_back({meter_title(meter), text, o.holds ? Tone::kPlain : Tone::kBad});
  }
  return {"Orderings", "best first", {items}};
}

}  // namespace trimeter
