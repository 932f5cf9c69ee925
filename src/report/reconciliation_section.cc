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

}  // namespace

Section reconciliation_section(const Record& record) {
  Table table;
  table.columns = {{"", "meter", Align::kLeft}, {"", "format", Align::kLeft},
                   {"", "predicted"},           {"", "measured"},
                   {"", "measured/predicted"},  {"", "band"},
                   {"", "within", Align::kLeft}};
  Items misses;
  for (const RecordReconciliation& r : record.reconciliation) {
    table.add({{meter_title(r.meter)},
               {r.format},
               {meter_text(r.meter, r.predicted)},
               {meter_text(r.meter, r.measured)},
               {fmt::format("{:.3f}", r.ratio)},
               {fmt::format("\u00b1{:g}%", 100 * r.band), Tone::kFaint},
               {r.within_band ? "yes" : "no", r.within_band ? Tone::kGood : Tone::kBad}});
    if (!r.within_band) misses.push_back({r.format + ", " + meter_title(r.meter), r.explanation});
  }
  Section section{"Reconciliation", "", {table}};
  if (!record.hardware.profiled_at.empty()) section.note = "with the profile of " + record.hardware.profiled_at;
  if (const auto& speed = record.hardware.speed)
    section.parts.push_back(Items{{"machine while it was measured",
                                   fmt::format("arithmetic {}, read bandwidth {} of its profile's",
                                               interval_text(speed->arithmetic), interval_text(speed->bandwidth))}});
  if (!misses.empty()) section.parts.push_back(misses);
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
