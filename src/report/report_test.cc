#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "record/full_record.h"
#include "report/comparison.h"
#include "report/markdown.h"
#include "report/terminal.h"
#include "report/text.h"

namespace trimeter {
namespace {

std::string golden_path(const std::string& name) {
  const char* root = std::getenv("TRIMETER_SOURCE_DIR");
  return std::string(root ? root : ".") + "/tests/golden/report/" + name;
}

std::string read(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

Record golden_record() { return record_from_json(read(golden_path("record.json")), "record.json"); }

// TRIMETER_WRITE_GOLDEN=1 accepts what is rendered now; the difference is then git's to show.
void expect_golden(const std::string& name, const std::string& got) {
  if (std::getenv("TRIMETER_WRITE_GOLDEN")) std::ofstream(golden_path(name)) << got;
  EXPECT_EQ(got, read(golden_path(name)));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string without_colour(std::string text) {
  for (size_t at; (at = text.find("\x1b[")) != std::string::npos;) text.erase(at, text.find('m', at) - at + 1);
  return text;
}

TEST(Report, TerminalIsAsAgreed) {
  expect_golden("comparison.txt", render_terminal(comparison_report(golden_record()), false));
}
TEST(Report, MarkdownIsAsAgreed) {
  expect_golden("comparison.md", render_markdown(comparison_report(golden_record())));
}
TEST(Report, PredictionIsAsAgreed) {
  expect_golden("prediction.txt", render_terminal(prediction_report(golden_record()), false));
}

TEST(Report, TheTableFitsOneScreenAndComesFirst) {
  const std::vector<std::string> lines = lines_of(render_terminal(comparison_report(golden_record()), false));
  size_t second_section = 0, n_blank = 0;
  while (n_blank < 2) n_blank += lines[second_section++].empty();
  EXPECT_LE(second_section, 24u);
  EXPECT_EQ(lines[6].substr(0, 16), "The three meters");
}

TEST(Report, ColourOnlyIfAsked) {
  const Document document = comparison_report(golden_record());
  const std::string plain = render_terminal(document, false), coloured = render_terminal(document, true);
  EXPECT_EQ(plain.find('\x1b'), std::string::npos);  // not from a model's output, either
  EXPECT_NE(coloured.find("\x1b[1m"), std::string::npos);
  EXPECT_EQ(without_colour(coloured), plain);
}

// A record of large numbers, long names and hostile text; formats named prefix + "bf16" and so on.
Record wide_record(const std::string& prefix) {
  Record r = golden_record();
  r.model.name = std::string(300, 'm');
  r.hardware.name =
      "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz with a name that goes on for longer than anybody likes it";
  r.workload.device_memory_bytes = int64_t{192} << 30;
  for (RecordRun& run : r.runs) {
    run.format = prefix + run.format;
    for (Sampled* s : {&run.measured->generation_tokens_per_s, &run.measured->decode_tokens_per_s})
      *s = Sampled::of({123456, 234567, 345678});
    run.measured->kv_blocks = run.predicted.kv_blocks = 12345678;
    run.measured->memory = run.predicted.memory = {144'234'567'890, 142'234'567'890, 4'234'567'890, 2'000'000'000,
                                                   1'234'567,       12'234'567'890,  1'234'567'890, 99'234'567'890};
    run.measured->quality->perplexity = 123456.7;
    run.measured->quality->kld = {1.2345e-5, 2.345e-6, 1.2e-4, 0.1234, 12.345, 23.456, 34.567};
    for (RecordOutput& output : run.measured->quality->outputs)
      output.text = std::string(90, 'x') + "\u96e8\u96e8\n\x1b]0;t\x07";
    run.kernel.lines.push_back("lm_head: " + std::string(150, 'k') + " a few words more");
  }
  r.reconciliation[0].format = r.runs[0].format;
  r.reconciliation[0].within_band = false;
  r.reconciliation[0].explanation = std::string(400, 'e');
  return r;
}

TEST(Report, NoLineIsWiderThanAHundredColumns) {
  for (const Record& record :
       {golden_record(), wide_record("gguf-q4_k+kv-"), wide_record(std::string(40, 'f')), full_record()})
    for (const std::string& text :
         {render_terminal(comparison_report(record), false), render_terminal(prediction_report(record), false)})
      for (const std::string& line : lines_of(text)) EXPECT_LE(display_width(line), 100) << line;
}

TEST(Report, NamesOfFormatsStayWhole) {
  const std::string text = render_terminal(comparison_report(wide_record("gguf-q4_k+kv-")), false);
  EXPECT_NE(text.find("\n  gguf-q4_k+kv-awq "), std::string::npos);
}

TEST(Report, StatesWhatWasNotMeasuredAsPredicted) {
  Record record = golden_record();
  record.noise_floor.reset();
  record.verdict.reset();
  record.reconciliation.clear();
  record.ordering.clear();
  for (RecordRun& run : record.runs) run.measured.reset();
  const std::string text = render_terminal(comparison_report(record), false);
  EXPECT_NE(text.find("awq, predicted"), std::string::npos);
  EXPECT_EQ(text.find("95%\n"), std::string::npos);
  EXPECT_EQ(text.find("Verdict"), std::string::npos);
}

// Markdown and terminal render one document; what could still be lost is a cell.
TEST(Report, MarkdownStatesTheSameNumbers) {
  const std::string terminal = render_terminal(comparison_report(golden_record()), false);
  const std::string markdown = render_markdown(comparison_report(golden_record()));
  int n = 0;
  std::istringstream words(terminal);
  for (std::string word; words >> word;) {
    if (word.find_first_not_of("0123456789.,-") != std::string::npos ||
        word.find_first_of("0123456789") == std::string::npos)
      continue;
    EXPECT_NE(markdown.find(word), std::string::npos) << word;
    ++n;
  }
  EXPECT_GT(n, 100);
}

TEST(Report, TextOfModelsIsNoMarkup) {
  Record record = golden_record();
  record.runs[0].measured->quality->outputs[0].text = "a | b *c* <script> `d` [e](f)\n# g";
  const std::string markdown = render_markdown(comparison_report(record));
  EXPECT_NE(markdown.find("a \\| b \\*c\\* \\<script\\> \\`d\\` \\[e\\](f)\\\\n\\# g"), std::string::npos);
}

}  // namespace
}  // namespace trimeter
