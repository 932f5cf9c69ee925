#include "text/jinja/lexer.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "text/utf8.h"

namespace trimeter::jinja {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// \r\n and \r become \n; one newline at the very end is dropped.
std::string normalized(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : text_(normalized(source)) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) lex_data();
    push(TokenType::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Errc::kBadFile, "chat template, line {}: {}", line_, what);
  }
  bool looking_at(std::string_view s) const { return std::string_view(text_).substr(at_).starts_with(s); }
  void push(TokenType type, std::string text) { tokens_.push_back({type, std::move(text), line_}); }
  void advance(size_t n) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(at_ + n), '\n'));
    at_ += n;
  }
  void skip_space() {
    while (at_ < text_.size()) {
      const Utf8Step step = utf8_step(text_, at_);
      if (!is_python_space(step.code)) return;
      advance(static_cast<size_t>(step.length));
    }
  }

  // Text up to the next tag, and the tag.
  void lex_data() {
    size_t begin = at_;
    while (begin < text_.size() && !(text_[begin] == '{' && begin + 1 < text_.size() &&
                                     std::string_view("{%#").find(text_[begin + 1]) != std::string_view::npos))
      ++begin;
    std::string_view data = std::string_view(text_).substr(at_, begin - at_);
    if (begin == text_.size()) {
      push(TokenType::kData, std::string(data));
      at_ = text_.size();
      return;
    }
    const char kind = text_[begin + 1];
    const char sign =
        begin + 2 < text_.size() && (text_[begin + 2] == '-' || text_[begin + 2] == '+') ? text_[begin + 2] : ' ';
    data = stripped(data, kind, sign);
    if (!data.empty()) push(TokenType::kData, std::string(data));
    advance(begin - at_ + (sign == ' ' ? 2 : 3));
    if (kind == '#')
      skip_comment();
    else
      lex_tag(kind);
  }

  // What is left of the text before a tag. `line_starts_` tells whether it begins a line.
  std::string_view stripped(std::string_view data, char kind, char sign) const {
    size_t kept = data.size();
    const auto space_before = [&]() -> std::optional<size_t> {
      size_t start = kept - 1;
      while (start > 0 && (static_cast<uint8_t>(data[start]) & 0xC0) == 0x80) --start;
      return is_python_space(utf8_step(data, start).code) ? std::optional(start) : std::nullopt;
    };
    if (sign == '-') {
      while (kept > 0 && space_before()) kept = *space_before();
    } else if (sign != '+' && kind != '{') {
      const size_t newline = data.rfind('\n');
      const size_t line_begin = newline == std::string_view::npos ? 0 : newline + 1;
      while (kept > line_begin && space_before()) kept = *space_before();
      if (kept > line_begin || (line_begin == 0 && !line_starts_)) kept = data.size();
    }
    return data.substr(0, kept);
  }

  // Behind a tag's end: `-` takes all white space, the end of a block or comment one newline unless it has `+`.
  void end_tag(char sign, bool trims_newline) {
    const size_t before = at_;
    if (sign == '-')
      skip_space();
    else if (sign != '+' && trims_newline && looking_at("\n"))
      advance(1);
    line_starts_ = at_ > before && text_[at_ - 1] == '\n';
  }

  void skip_comment() {
    const size_t end = text_.find("#}", at_);
    if (end == std::string::npos) fail("a comment is not closed with '#}'");
    const char sign = end > at_ && (text_[end - 1] == '-' || text_[end - 1] == '+') ? text_[end - 1] : ' ';
    advance(end + 2 - at_);
    end_tag(sign, true);
  }

  bool ends_tag(char kind) {
    const std::string_view close = kind == '{' ? "}}" : "%}";
    char sign = ' ';
    if (looking_at(std::string("-") + std::string(close)))
      sign = '-';
    else if (kind == '%' && looking_at(std::string("+") + std::string(close)))
      sign = '+';
    else if (!looking_at(close))
      return false;
    push(kind == '{' ? TokenType::kVariableEnd : TokenType::kBlockEnd, std::string(close));
    advance(sign == ' ' ? 2 : 3);
    end_tag(sign, kind == '%');
    return true;
  }

  void lex_tag(char kind) {
    push(kind == '{' ? TokenType::kVariableBegin : TokenType::kBlockBegin, kind == '{' ? "{{" : "{%");
    const int opened = line_;
    std::string open;  // brackets that wait for their partner, as the partner
    for (;;) {
      skip_space();
      if (at_ == text_.size()) fail(fmt::format("the tag opened in line {} is not closed", opened));
      if (open.empty() && ends_tag(kind)) return;
      const char c = text_[at_];
      if (c == '"' || c == '\'')
        lex_string(c);
      else if (is_digit(c))
        lex_number();
      else if (is_name_start(c))
        lex_name();
      else
        lex_operator(open);
    }
  }

  void lex_name() {
    size_t n = 1;
    while (at_ + n < text_.size() && (is_name_start(text_[at_ + n]) || is_digit(text_[at_ + n]))) ++n;
    push(TokenType::kName, text_.substr(at_, n));
    advance(n);
  }

  void lex_number() {
    size_t n = 0;
    const auto digits = [&] {
      while (at_ + n < text_.size() && is_digit(text_[at_ + n])) ++n;
    };
    digits();
    const bool is_float = at_ + n + 1 < text_.size() && text_[at_ + n] == '.' && is_digit(text_[at_ + n + 1]);
    if (is_float) {
      ++n;
      digits();
    }
    if (at_ + n < text_.size() && (is_name_start(text_[at_ + n])))
      fail(fmt::format("number '{}' is not in plain decimal form", text_.substr(at_, n + 1)));
    push(is_float ? TokenType::kFloat : TokenType::kInteger, text_.substr(at_, n));
    advance(n);
  }

  void lex_operator(std::string& open) {
    static constexpr std::string_view kOperators[] = {"==", "!=", ">=", "<=", "//", "**", "+", "-", "/",
                                                      "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                                      ">",  "<",  "=",  ".",  ":",  "|",  ","};
    const auto* found =
        std::find_if(std::begin(kOperators), std::end(kOperators), [&](std::string_view o) { return looking_at(o); });
    if (found == std::end(kOperators)) {
      const Utf8Step step = utf8_step(text_, at_);
      fail(fmt::format("unexpected character '{}'", text_.substr(at_, static_cast<size_t>(step.length))));
    }
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') open += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) fail(fmt::format("unexpected '{}'", c));
      open.pop_back();
    }
    push(TokenType::kOperator, std::string(*found));
    advance(found->size());
  }

  void lex_string(char quote) {
    const int opened = line_;
    std::string value;
    size_t i = at_ + 1;
    while (i < text_.size() && text_[i] != quote) {
      if (text_[i] == '\\' && i + 1 < text_.size())
        i = unescape(i, value);
      else
        value += text_[i++];
    }
    if (i >= text_.size()) fail("a string is not closed");
    advance(i + 1 - at_);
    tokens_.push_back({TokenType::kString, std::move(value), opened});
  }

  // The escape at text_[i], a backslash; returns what comes behind it. Python's rules: what it doesn't know stays.
  size_t unescape(size_t i, std::string& value) const {
    const char c = text_[i + 1];
    using namespace std::literals;
    static constexpr std::string_view kNames = "ntrabfv0\\'\""sv, kValues = "\n\t\r\a\b\f\v\0\\'\""sv;
    if (c == '\n') return i + 2;
    if (is_digit(c) && (c != '0' || (i + 2 < text_.size() && is_digit(text_[i + 2]))))
      fail("octal escapes in strings are not supported");
    if (c == 'N') fail("\\N escapes in strings are not supported");
    if (c == 'x' || c == 'u' || c == 'U') return unescape_code(i, c == 'x' ? 2 : c == 'u' ? 4 : 8, value);
    if (const size_t known = kNames.find(c); known != std::string_view::npos)
      value += kValues[known];
    else
      value += {'\\', c};
    return i + 2;
  }

  size_t unescape_code(size_t i, size_t n_digits, std::string& value) const {
    const std::string digits = text_.substr(i + 2, n_digits);
    char32_t code = 0;
    for (const char d : digits) {
      const size_t v = std::string_view("0123456789abcdef").find(static_cast<char>(d >= 'A' && d <= 'F' ? d + 32 : d));
      if (v == std::string_view::npos)
        fail(fmt::format("'{}' is no escape of {} hexadecimal digits", text_.substr(i, n_digits + 2), n_digits));
      code = code << 4 | static_cast<char32_t>(v);
    }
    if (digits.size() != n_digits || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      fail(fmt::format("'{}' is no character", text_.substr(i, n_digits + 2)));
    append_utf8(value, code);
    return i + 2 + n_digits;
  }

  std::string text_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // what comes next begins a line
  std::vector<Token> tokens_;
};

}  // namespace

bool is_python_space(char32_t code) { return is_white_space(code) || (code >= 0x1C && code <= 0x1F); }

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace trimeter::jinja
