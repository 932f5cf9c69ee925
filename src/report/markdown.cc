#include "report/markdown.h"

#include <string_view>

namespace trimeter {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += ' ';
      continue;
    }
    if (std::string_view("\\`*_<>[]|~&$#").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

std::string emphasised(const Cell& cell) {
  std::string text = cell.text;
  if (cell.text.empty()) return "";
  const size_t first = text.find_first_not_of(' ');
  const std::string inner = escaped(std::string_view(text).substr(first == std::string::npos ? 0 : first));
  switch (cell.tone) {
    case Tone::kStrong:
    case Tone::kBad:
      return "**" + inner + "**";
    case Tone::kFaint:
      return "*" + inner + "*";
    case Tone::kPlain:
    case Tone::kGood:
      break;
  }
  return inner;
}

std::string rendered(const Table& table) {
  std::string head = "|", rule = "|", body;
  std::string group;  // said once, at its first column
  for (const Column& column : table.columns) {
    head += " " +
            escaped(column.group.empty() || column.group == group ? column.title : column.group + ": " + column.title) +
            " |";
    group = column.group;
    rule += column.align == Align::kLeft ? " :-- |" : " --: |";
  }
  for (const auto& row : table.rows) {
    if (row.empty()) continue;
    body += "|";
    for (size_t c = 0; c < table.columns.size(); ++c) body += " " + (c < row.size() ? emphasised(row[c]) : "") + " |";
    body += "\n";
  }
  return head + "\n" + rule + "\n" + body;
}

std::string rendered(const Items& items) {
  std::string out;
  for (const Item& item : items) {
    const bool continues = item.label.empty() && !items.front().label.empty();
    out += continues ? "  - " : "- ";
    if (!item.label.empty()) out += "**" + escaped(item.label) + "**: ";
    out += escaped(item.text) + "\n";
  }
  return out;
}

}  // namespace

std::string render_markdown(const Document& document) {
  std::string out = "# " + escaped(document.title) + "\n\n";
  for (const std::string& subtitle : document.subtitles) out += escaped(subtitle) + "  \n";
  for (const Section& section : document.sections) {
    out += "\n## " + escaped(section.title) + "\n";
    if (!section.note.empty()) out += "\n" + escaped(section.note) + "\n";
    for (const auto& part : section.parts)
      out += "\n" + std::visit([](const auto& content) { return rendered(content); }, part);
  }
  return out;
}

}  // namespace trimeter
