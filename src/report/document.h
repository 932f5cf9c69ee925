// What a report says, without how it looks: the terminal and Markdown render the same document, so they state the same
// facts.
#pragma once
#include <string>
#include <variant>
#include <vector>

namespace trimeter {

enum class Tone { kPlain, kStrong, kFaint, kGood, kBad };

struct Cell {
  std::string text;
  Tone tone = Tone::kPlain;
};

enum class Align { kLeft, kRight };

struct Column {
  std::string group, title;  // neighbouring columns of one group share its heading
  Align align = Align::kRight;
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;  // a row may be shorter than the columns; an empty row is a gap between groups
  void add(std::vector<Cell> row) { rows.push_back(std::move(row)); }
};

// "label  text", the text wrapped and hanging under itself. An item without a label belongs to the one before it; a
// list without labels is paragraphs.
struct Item {
  std::string label, text;
  Tone tone = Tone::kPlain;  // of the text
};
using Items = std::vector<Item>;

struct Section {
  std::string title, note;
  std::vector<std::variant<Table, Items>> parts;
};

struct Document {
  std::string title;
  std::vector<std::string> subtitles;
  std::vector<Section> sections;
};

}  // namespace trimeter
