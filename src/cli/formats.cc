// trimeter formats: what a user can name, generated from the lists.
#include <fmt/format.h>

#include <algorithm>

#include "base/cpu.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "lab/output_file.h"
#include "report/markdown.h"
#include "schemes/scheme.h"
#include "spec/format.h"

namespace trimeter {
namespace {

struct Flags {
  std::string markdown;
  bool force = false;
};

Table names_table() {
  Table table;
  table.columns = {{"", "format", Align::kLeft},
                   {"", "scheme", Align::kLeft},
                   {"", "algorithm", Align::kLeft},
                   {"", "written as", Align::kLeft}};
  for (const Format& format : all_formats())
    table.add({{format.name, Tone::kStrong}, {format.scheme}, {format.algorithm}, {format.container}});
  return table;
}

Items summaries() {
  Items items;
  for (const Format& format : all_formats()) items.push_back({format.name, format.summary});
  for (const KvFormat& kv : all_kv_formats()) items.push_back({"+" + kv.name, kv.summary});
  return items;
}

Cell support(Isa isa, std::string_view requested, std::string_view executed, std::span<const Isa> isas) {
  if (std::find(isas.begin(), isas.end(), isa) == isas.end()) return {"absent", Tone::kFaint};
  if (isa == Isa::kScalar || requested != executed) return {fmt::format("slow path: {}", executed)};
  return {fmt::format("tested: {}", executed), Tone::kGood};
}

Table kernels_table(std::span<const Isa> isas) {
  Table table;
  table.columns = {{"", "format", Align::kLeft}};
  for (const Isa isa : kAllIsas) table.columns.push_back({"", std::string(name(isa)), Align::kLeft});
  for (const Format& format : all_formats()) {
    std::vector<Cell> row{{format.name, Tone::kStrong}};
    for (const Isa isa : kAllIsas) {
      const KernelPlan plan = scheme(format.scheme).plan(isa);
      row.push_back(support(isa, plan.requested, plan.executed, isas));
    }
    table.add(std::move(row));
  }
  for (const KvFormat& kv : all_kv_formats()) {  // attention is in fp32 for a cache of any dtype
    std::vector<Cell> row{{"+" + kv.name, Tone::kStrong}};
    for (const Isa isa : kAllIsas) row.push_back(support(isa, "fp32", "fp32", isas));
    table.add(std::move(row));
  }
  return table;
}

Document formats_document(std::span<const Isa> isas, std::string_view where) {
  Document document;
  document.title = "Formats: scheme x algorithm x container";
  document.sections.push_back({"Names", "", {names_table(), summaries()}});
  document.sections.push_back(
      {"Kernels",
       std::string(where),
       {kernels_table(isas),
        Items{{"tested", "against the scalar reference, at derived bounds, in the arithmetic that the format asks for"},
              {"slow path", "tested as well, in another arithmetic, or the scalar reference itself"},
              {"absent", "this CPU lacks the instructions"}}}});
  return document;
}

void formats(const Flags& flags) {
  if (flags.markdown.empty()) {
    print(formats_document(runnable_isas(),
                           fmt::format("and the arithmetic that they execute; here: {}", name(active_isa()))));
    return;
  }
  const OutputFile file(flags.markdown, kMarkdownMark, flags.force);
  file.write(std::string(kMarkdownMark) + "\n" +
             render_markdown(formats_document(kAllIsas, "and the arithmetic that they execute")));
}

}  // namespace

void add_formats(CLI::App& program) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* command = program.add_subcommand("formats", "formats and their kernels on this machine");
  command->add_option("--markdown", flags->markdown, "write the tables as Markdown, as if this CPU had every ISA");
  command->add_flag("--force", flags->force, "overwrite a file that trimeter did not write");
  command->footer("Examples:\n  trimeter formats\n  trimeter formats --markdown docs/formats.md");
  command->callback([flags] { formats(*flags); });
}

}  // namespace trimeter
