#include "text/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "text/utf8.h"

namespace trimeter {
namespace {

struct Piece {
  size_t begin, end;
  bool is_match;
};

std::vector<Piece> match_pieces(Regex::Search& search, std::string_view text, bool invert) {
  std::vector<Piece> pieces;
  search.start(text);
  size_t covered = 0, begin = 0, end = 0;
  while (search.next(begin, end)) {
    if (covered < begin) pieces.push_back({covered, begin, invert});
    pieces.push_back({begin, end, !invert});
    covered = end;
  }
  if (covered < text.size()) pieces.push_back({covered, text.size(), invert});
  return pieces;
}

// The neighbour of the same run takes over what `joins(previous, piece)` says belongs to it.
template <class Joins>
std::vector<Piece> join(const std::vector<Piece>& pieces, Joins joins) {
  std::vector<Piece> out;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i > 0 && joins(pieces[i - 1], pieces[i]))
      out.back().end = pieces[i].end;
    else
      out.push_back(pieces[i]);
  }
  return out;
}

std::vector<Piece> apply(SplitBehavior behavior, std::vector<Piece> pieces) {
  switch (behavior) {
    case SplitBehavior::kIsolated:
      return pieces;
    case SplitBehavior::kRemoved:
      std::erase_if(pieces, [](const Piece& p) { return p.is_match; });
      return pieces;
    case SplitBehavior::kMergedWithPrevious:
      return join(pieces, [](const Piece& a, const Piece& b) { return b.is_match && !a.is_match; });
    case SplitBehavior::kMergedWithNext:
      return join(pieces, [](const Piece& a, const Piece& b) { return a.is_match && !b.is_match; });
    case SplitBehavior::kContiguous:
      return join(pieces, [](const Piece& a, const Piece& b) { return a.is_match == b.is_match; });
  }
  return pieces;
}

std::string_view spaced(const SplitStep& spec, std::string_view word, bool first, std::deque<std::string>& storage) {
  if (spec.space != " " && word.find(' ') != std::string_view::npos) {
    storage.emplace_back(word);
    replace_all(storage.back(), " ", spec.space);
    word = storage.back();
  }
  const bool prefixed =
      spec.prefix == SplitStep::Prefix::kAlways || (spec.prefix == SplitStep::Prefix::kFirst && first);
  if (!prefixed || word.starts_with(spec.space)) return word;
  return storage.emplace_back(fmt::format("{}{}", spec.space, word));
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<SplitStep>& steps, const std::string& where) {
  for (const SplitStep& spec : steps) {
    Step step{spec, {}};
    if (!spec.pattern.empty()) step.regex.emplace_back(spec.pattern, where);
    steps_.push_back(std::move(step));
  }
}

std::vector<std::string_view> PreTokenizer::words(std::string_view text, bool at_start,
                                                  std::deque<std::string>& storage) const {
  std::vector<std::string_view> words;
  if (!text.empty()) words.push_back(text);
  bool starts = at_start;  // whether words[0] is how the whole text begins
  for (const Step& step : steps_) {
    std::vector<std::string_view> finer;
    bool finer_starts = false;
    std::optional<Regex::Search> search;  // one for all words: it takes memory of the system
    if (!step.regex.empty()) search.emplace(step.regex[0]);
    for (size_t i = 0; i < words.size(); ++i) {
      const bool first = starts && i == 0;
      const std::string_view word = spaced(step.spec, words[i], first, storage);
      if (!search) {
        finer_starts |= first;
        finer.push_back(word);
        continue;
      }
      for (const Piece& p : apply(step.spec.behavior, match_pieces(*search, word, step.spec.invert))) {
        if (p.begin == p.end) continue;
        finer_starts |= first && p.begin == 0;
        finer.push_back(word.substr(p.begin, p.end - p.begin));
      }
    }
    words = std::move(finer);
    starts = finer_starts;
  }
  return words;
}

}  // namespace trimeter
