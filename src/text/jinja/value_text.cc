// How values read as text: Python's str() and repr(), and JSON.
#include <utf8proc.h>

#include <cmath>

#include "base/error.h"
#include "text/jinja/value.h"
#include "text/utf8.h"

namespace trimeter::jinja {
namespace {

std::string float_text(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  std::string text = fmt::format("{}", d);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

bool is_printable(char32_t code) {
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    case UTF8PROC_CATEGORY_ZS:
      return code == ' ';
    default:
      return true;
  }
}

std::string string_repr(const std::string& text) {
  const char quote = text.find('\'') != std::string::npos && text.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t offset = 0; offset < text.size();) {
    const Utf8Step step = utf8_step(text, offset);
    const char32_t c = step.code;
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      out.append(text, offset, static_cast<size_t>(step.length));
    } else {
      const auto code = static_cast<uint32_t>(c);
      out += c < 0x100     ? fmt::format("\\x{:02x}", code)
             : c < 0x10000 ? fmt::format("\\u{:04x}", code)
                           : fmt::format("\\U{:08x}", code);
    }
    offset += static_cast<size_t>(step.length);
  }
  return out + quote;
}

void append_repr(const Value& value, std::string& out, Budget& budget) {
  budget.spend(1);
  if (const std::string* text = value.string()) {
    budget.spend(text->size());
    out += string_repr(*text);
  } else if (const List* list = value.list()) {
    out += list->is_tuple ? '(' : '[';
    for (size_t i = 0; i < list->items.size(); ++i) {
      if (i > 0) out += ", ";
      append_repr(list->items[i], out, budget);
    }
    if (list->is_tuple && list->items.size() == 1) out += ',';
    out += list->is_tuple ? ')' : ']';
  } else if (const Dict* dict = value.dict()) {
    out += '{';
    for (size_t i = 0; i < dict->entries.size(); ++i) {
      budget.spend(dict->entries[i].first.size());
      out += (i > 0 ? ", " : "") + string_repr(dict->entries[i].first) + ": ";
      append_repr(dict->entries[i].second, out, budget);
    }
    out += '}';
  } else if (value.is_undefined()) {
    out += "Undefined";
  } else {
    out += to_text(value, budget);
  }
}

std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (static_cast<uint8_t>(c) < 0x20)
          out += fmt::format("\\u{:04x}", c);
        else
          out += c;
    }
  }
  return out + '"';
}

class JsonWriter {
 public:
  JsonWriter(int indent, Budget& budget) : indent_(indent), budget_(budget) {}
  void write(const Value& value) {
    budget_.spend(1);
    if (const std::string* text = value.string()) {
      budget_.spend(text->size());
      out_ += json_string(*text);
    } else if (const List* list = value.list()) {
      write_all('[', list->items, ']', [&](const Value& item) { write(item); });
    } else if (const Dict* dict = value.dict()) {
      write_all('{', dict->entries, '}', [&](const auto& entry) {
        budget_.spend(entry.first.size());
        out_ += json_string(entry.first) + ": ";
        write(entry.second);
      });
    } else if (value.is_none()) {
      out_ += "null";
    } else if (const bool* b = value.as<bool>()) {
      out_ += *b ? "true" : "false";
    } else if (value.is_number()) {
      const double* d = value.as<double>();
      out_ += d == nullptr     ? fmt::format("{}", value.integer())
              : std::isnan(*d) ? "NaN"
              : std::isinf(*d) ? (*d < 0 ? "-Infinity" : "Infinity")
                               : float_text(*d);
    } else {
      throw Error(Errc::kBadFile, "chat template: a value of type {} has no JSON", value.type_name());
    }
  }
  std::string take() { return std::move(out_); }

 private:
  template <class Items, class WriteItem>
  void write_all(char open, const Items& items, char close, WriteItem write_item) {
    out_ += open;
    ++level_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += indent_ < 0 ? ", " : ",";
      new_line();
      write_item(items[i]);
    }
    --level_;
    if (!items.empty()) new_line();
    out_ += close;
  }
  void new_line() {
    if (indent_ < 0) return;
    const size_t spaces = static_cast<size_t>(indent_) * level_;
    budget_.spend(spaces);
    out_ += '\n';
    out_.append(spaces, ' ');
  }

  int indent_;
  size_t level_ = 0;
  Budget& budget_;
  std::string out_;
};

}  // namespace

std::string to_text(const Value& value, Budget& budget) {
  budget.spend(1);
  if (value.is_undefined()) return "";
  if (value.is_none()) return "None";
  if (const bool* b = value.as<bool>()) return *b ? "True" : "False";
  if (const int64_t* i = value.as<int64_t>()) return fmt::format("{}", *i);
  if (const double* d = value.as<double>()) return float_text(*d);
  if (const std::string* text = value.string()) {
    budget.spend(text->size());
    return *text;
  }
  if (value.list() || value.dict()) {
    std::string out;
    append_repr(value, out, budget);
    return out;
  }
  throw Error(Errc::kBadFile, "chat template: a value of type {} has no text", value.type_name());
}

std::string to_json(const Value& value, int indent, Budget& budget) {
  JsonWriter writer(indent, budget);
  writer.write(value);
  return writer.take();
}

}  // namespace trimeter::jinja
