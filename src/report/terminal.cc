#include "report/terminal.h"

#include <algorithm>

#include "report/text.h"

namespace trimeter {
namespace {

constexpr int kIndent = 2;

class Terminal {
 public:
  explicit Terminal(bool color) : color_(color) {}

  void line(const std::string& text, Tone tone = Tone::kPlain) { out_ += painted(text, tone) + "\n"; }
  void section(const Section& section);
  void table(const Table& table);
  void items(const Items& items);
  std::string take() { return std::move(out_); }

 private:
  std::string painted(const std::string& text, Tone tone) const {
    static constexpr const char* kCodes[] = {"", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m"};
    if (!color_ || tone == Tone::kPlain || text.empty()) return text;
    return kCodes[static_cast<int>(tone)] + text + "\x1b[0m";
  }
  std::string padded(const std::string& text, int width, Align align, Tone tone) const {
    const std::string space(std::max(0, width - display_width(text)), ' ');
    return align == Align::kLeft ? painted(text, tone) + space : space + painted(text, tone);
  }
  void put(std::string text) {
    text.erase(text.find_last_not_of(' ') + 1);
    out_ += text + "\n";
  }

  bool color_;
  std::string out_;
};

// Widths of the columns, the last of a group widened where the group's heading needs it.
std::vector<int> column_widths(const Table& table, int gap) {
  std::vector<int> widths;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    int width = display_width(table.columns[c].title);
    for (const auto& row : table.rows)
      if (c < row.size()) width = std::max(width, display_width(row[c].text));
    widths.push_back(width);
  }
  for (size_t begin = 0; begin < widths.size();) {
    size_t end = begin;
    int width = -gap;
    for (; end < widths.size() && table.columns[end].group == table.columns[begin].group; ++end)
      width += widths[end] + gap;
    widths[end - 1] += std::max(0, display_width(table.columns[begin].group) - width);
    begin = end;
  }
  return widths;
}

int total_width(const std::vector<int>& widths, int gap) {
  int total = kIndent - gap;
  for (const int width : widths) total += width + gap;
  return total;
}

// Takes a column from the widest column that has one to give: words down to 8 columns, numbers never, titles of numbers
// down to the numbers. False if none has.
bool shrink_widest(const Table& table, std::vector<int>& widths) {
  int widest = -1;
  for (size_t c = 0; c < widths.size(); ++c) {
    int least = 8;
    if (table.columns[c].align == Align::kRight)
      for (const auto& row : table.rows)
        if (c < row.size()) least = std::max(least, display_width(row[c].text));
    if (widths[c] > least && (widest < 0 || widths[c] > widths[widest])) widest = static_cast<int>(c);
  }
  if (widest >= 0) --widths[widest];
  return widest >= 0;
}

void Terminal::table(const Table& table) {
  int gap = 3;
  std::vector<int> widths = column_widths(table, gap);
  while (gap > 1 && total_width(widths, gap) > kReportColumns) widths = column_widths(table, --gap);
  while (total_width(widths, gap) > kReportColumns && shrink_widest(table, widths)) {
  }

  const std::string between(gap, ' ');
  const bool grouped =
      std::any_of(table.columns.begin(), table.columns.end(), [](const Column& c) { return !c.group.empty(); });
  if (grouped) {
    std::string heading(kIndent, ' ');
    for (size_t begin = 0; begin < widths.size();) {
      size_t end = begin;
      int width = -gap;
      for (; end < widths.size() && table.columns[end].group == table.columns[begin].group; ++end)
        width += widths[end] + gap;
      const std::string& group = table.columns[begin].group;
      const int rule = width - display_width(group) - 2;
      std::string shown = shortened(group, width);
      if (!group.empty() && rule >= 2)
        shown = std::string(rule / 2, '-') + " " + group + " " + std::string(rule - rule / 2, '-');
      heading += (begin ? between : "") + padded(shown, width, Align::kRight, Tone::kFaint);
      begin = end;
    }
    put(heading);
  }
  std::string header(kIndent, ' ');
  for (size_t c = 0; c < widths.size(); ++c)
    header += (c ? between : "") +
              padded(shortened(table.columns[c].title, widths[c]), widths[c], table.columns[c].align, Tone::kStrong);
  put(header);
  for (const auto& row : table.rows) {
    std::string text(kIndent, ' ');
    for (size_t c = 0; c < row.size(); ++c)
      text += (c ? between : "") +
              padded(shortened(row[c].text, widths[c]), widths[c], table.columns[c].align, row[c].tone);
    put(row.empty() ? "" : text);
  }
}

void Terminal::items(const Items& items) {
  int hang = kIndent;
  for (const Item& item : items)
    if (!item.label.empty()) hang = std::max(hang, kIndent + std::min(display_width(item.label), 30) + 2);
  for (const Item& item : items) {
    const std::string shown = item.label.empty() ? "" : shortened(item.label, hang - kIndent - 2);
    std::string lead = std::string(kIndent, ' ') + painted(shown, Tone::kStrong);
    lead += std::string(hang - kIndent - display_width(shown), ' ');
    for (const std::string& part : wrapped(item.text, kReportColumns - hang)) {
      put(lead + painted(part, item.tone));
      lead = std::string(hang, ' ');
    }
  }
}

void Terminal::section(const Section& section) {
  out_ += "\n";
  const std::string title = shortened(section.title, kReportColumns);
  const int left = kReportColumns - display_width(title) - 2;
  if (section.note.empty() || display_width(section.note) > left) {
    put(painted(title, Tone::kStrong));
    if (!section.note.empty())
      for (const std::string& part : wrapped(section.note, kReportColumns - kIndent))
        put(std::string(kIndent, ' ') + painted(part, Tone::kFaint));
  } else {
    put(painted(title, Tone::kStrong) + "  " + painted(section.note, Tone::kFaint));
  }
  for (size_t i = 0; i < section.parts.size(); ++i) {
    if (i) out_ += "\n";
    if (const auto* t = std::get_if<Table>(&section.parts[i])) table(*t);
    if (const auto* list = std::get_if<Items>(&section.parts[i])) items(*list);
  }
}

}  // namespace

std::string render_terminal(const Document& document, bool color) {
  Terminal terminal(color);
  for (const std::string& part : wrapped(document.title, kReportColumns)) terminal.line(part, Tone::kStrong);
  for (const std::string& subtitle : document.subtitles)
    for (const std::string& part : wrapped(subtitle, kReportColumns)) terminal.line(part);
  for (const Section& section : document.sections) terminal.section(section);
  return terminal.take();
}

}  // namespace trimeter
