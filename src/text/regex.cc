#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include <optional>
#include <utility>

#include "base/error.h"
#include "io/json.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

constexpr std::string_view kSpace =
    R"(\t-\r\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
constexpr std::string_view kNoSpace =
    R"(\x{0}-\x{8}\x{E}-\x{1F}\x{21}-\x{84}\x{86}-\x{9F}\x{A1}-\x{167F}\x{1681}-\x{1FFF}\x{200B}-\x{2027}\x{202A}-\x{202E}\x{2030}-\x{205E}\x{2060}-\x{2FFF}\x{3001}-\x{10FFFF})";
constexpr size_t kJitStackBytes = size_t{8} << 20;  // reserved, not touched, until a pattern backtracks that deep

std::string with_unicode_spaces(std::string_view pattern) {
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's' || escaped == 'S') {
        const std::string_view set = escaped == 's' ? kSpace : kNoSpace;
        out += in_class ? std::string(set) : fmt::format("[{}]", set);
      } else {
        out += c;
        out += escaped;
      }
      continue;
    }
    if (c == '[' && !in_class) {
      in_class = true;
    } else if (c == ']') {
      in_class = false;
    }
    out += c;
  }
  return out;
}

std::string pcre2_message(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};

}  // namespace

struct Regex::Impl {
  std::string pattern, where;
  std::unique_ptr<pcre2_code, Deleter<pcre2_code_free>> code;
};

struct Regex::Search::State {
  const Impl* regex;
  std::string_view text;
  size_t offset = 0;
  std::optional<size_t> last_end;
  std::unique_ptr<pcre2_match_data, Deleter<pcre2_match_data_free>> match;
  std::unique_ptr<pcre2_match_context, Deleter<pcre2_match_context_free>> context;
  std::unique_ptr<pcre2_jit_stack, Deleter<pcre2_jit_stack_free>> stack;
};

Regex::Regex(const std::string& pattern, const std::string& where) : impl_(std::make_unique<Impl>()) {
  impl_->pattern = pattern;
  impl_->where = where;
  const std::string translated = with_unicode_spaces(pattern);
  int code = 0;
  PCRE2_SIZE offset = 0;
  impl_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                                  PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &code, &offset, nullptr));
  if (!impl_->code)
    throw Error(Errc::kBadFile, "{}: wanted a regular expression, got '{}': {}", where, printable(pattern),
                pcre2_message(code));
  pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE);  // without it (no such machine) pcre2_match interprets
}

Regex::~Regex() = default;
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;

Regex::Search::Search(const Regex& regex) : state_(std::make_unique<State>()) {
  state_->regex = regex.impl_.get();
  state_->match.reset(pcre2_match_data_create_from_pattern(regex.impl_->code.get(), nullptr));
  state_->context.reset(pcre2_match_context_create(nullptr));
  state_->stack.reset(pcre2_jit_stack_create(32 * 1024, kJitStackBytes, nullptr));
  TM_CHECK(state_->match && state_->context && state_->stack, "PCRE2 has no memory for a match");
  pcre2_jit_stack_assign(state_->context.get(), nullptr, state_->stack.get());
}

Regex::Search::~Search() = default;

void Regex::Search::start(std::string_view text) {
  state_->text = text;
  state_->offset = 0;
  state_->last_end.reset();
}

bool Regex::Search::next(size_t& begin, size_t& end) {
  State& s = *state_;
  while (s.offset <= s.text.size()) {
    const int n = pcre2_match(s.regex->code.get(), reinterpret_cast<PCRE2_SPTR>(s.text.data()), s.text.size(), s.offset,
                              PCRE2_NO_UTF_CHECK, s.match.get(), s.context.get());
    if (n == PCRE2_ERROR_NOMATCH) return false;
    if (n < 0)
      throw Error(Errc::kBadFile, "{}: pattern '{}' fails on this text at byte {}: {}", s.regex->where,
                  printable(s.regex->pattern), s.offset, pcre2_message(n));
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(s.match.get());
    begin = range[0];
    end = range[1];
    // \K in a lookaround can put the end before the start, or the start behind where the search began.
    if (begin > end || begin < s.offset)
      throw Error(Errc::kBadFile, "{}: pattern '{}' matches backwards at byte {}", s.regex->where,
                  printable(s.regex->pattern), s.offset);
    const bool again = begin == end && begin == s.last_end;
    s.offset = end;
    if (begin == end) s.offset += end < s.text.size() ? static_cast<size_t>(utf8_step(s.text, end).length) : 1;
    if (again) continue;
    s.last_end = end;
    return true;
  }
  return false;
}

}  // namespace trimeter
