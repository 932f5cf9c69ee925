#include "text/normalizer.h"

namespace trimeter {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

std::string replaced(const Regex& regex, std::string_view text, std::string_view content) {
  std::string out;
  size_t covered = 0, begin = 0, end = 0;
  Regex::Search search(regex);
  search.start(text);
  while (search.next(begin, end)) {
    out += text.substr(covered, begin - covered);
    out += content;
    covered = end;
  }
  out += text.substr(covered);
  return out;
}

std::string stripped(std::string_view text, const StripStep& strip) {
  size_t begin = 0, end = text.size();
  while (strip.left && begin < end) {
    const Utf8Step step = utf8_step(text, begin);
    if (!is_white_space(step.code)) break;
    begin += static_cast<size_t>(step.length);
  }
  while (strip.right && begin < end) {
    const size_t last = start_of_character_before(text, end);
    if (!is_white_space(utf8_step(text, last).code)) break;
    end = last;
  }
  return std::string(text.substr(begin, end - begin));
}

}  // namespace

Normalizer::Normalizer(const std::vector<NormalizerStep>& steps, const std::string& where) {
  for (const NormalizerStep& step : steps)
    std::visit(Overloaded{[&](const ReplaceStep& r) {
                            steps_.emplace_back(Replace{Regex(r.pattern, where), r.content});
                          },
                          [&](const CharsmapStep& c) { steps_.emplace_back(Charsmap(c.bytes, where)); },
                          [&](const auto& other) { steps_.emplace_back(other); }},
               step);
}

std::string Normalizer::apply(std::string_view text) const {
  std::string out(text);
  for (const auto& step : steps_)
    out = std::visit(Overloaded{[&](UnicodeForm form) { return normalized(out, form); },
                                [&](const PrependStep& prepend) { return out.empty() ? out : prepend.text + out; },
                                [&](const Replace& replace) { return replaced(replace.regex, out, replace.content); },
                                [&](const StripStep& strip) { return stripped(out, strip); },
                                [&](const Charsmap& charsmap) { return charsmap.apply(out); }},
                     step);
  return out;
}

}  // namespace trimeter
