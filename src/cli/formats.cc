// trimeter formats: what a user can name, generated from the list.
#include <algorithm>

#include "base/cpu.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "schemes/scheme.h"
#include "spec/format.h"

namespace trimeter {
namespace {

void formats() {
  Table names, kernels;
  names.columns = {{"", "format", Align::kLeft},
                   {"", "scheme", Align::kLeft},
                   {"", "algorithm", Align::kLeft},
                   {"", "written as", Align::kLeft}};
  kernels.columns = {{"", "format", Align::kLeft},    {"", "ISA", Align::kLeft},      {"", "kernel", Align::kLeft},
                     {"", "requested", Align::kLeft}, {"", "executed", Align::kLeft}, {"", "here", Align::kLeft}};
  const std::vector<Isa> here = runnable_isas();
  Items summaries;
  for (const Format& format : all_formats()) {
    const std::string format_name(format.name);
    const Scheme& scheme = trimeter::scheme(format.scheme);
    names.add({{format_name, Tone::kStrong},
               {std::string(scheme.info().title)},
               {std::string(format.algorithm)},
               {std::string(format.container)}});
    summaries.push_back({format_name, std::string(format.summary)});
    bool first = true;
    for (const Isa isa : kAllIsas) {
      const KernelPlan plan = scheme.plan(isa);
      const bool runs = std::find(here.begin(), here.end(), isa) != here.end();
      kernels.add({{first ? format_name : "", Tone::kStrong},
                   {std::string(name(isa))},
                   {plan.kernel},
                   {plan.requested},
                   {plan.executed, plan.reason.empty() ? Tone::kPlain : Tone::kBad},
                   {isa == active_isa() ? "used"
                    : runs              ? "yes"
                                        : "no",
                    runs ? Tone::kGood : Tone::kFaint}});
      first = false;
    }
  }
  Document document;
  document.title = "Formats: scheme x algorithm x container";
  document.sections.push_back({"Names", "", {names, summaries}});
  document.sections.push_back({"Kernels", "arithmetic requested by the format, and executed", {kernels}});
  print(document);
}

}  // namespace

void add_formats(CLI::App& program) {
  CLI::App* command = program.add_subcommand("formats", "formats and their kernels on this machine");
  command->footer("Example:\n  trimeter formats");
  command->callback([] { formats(); });
}

}  // namespace trimeter
