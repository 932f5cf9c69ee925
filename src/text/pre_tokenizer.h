// Cuts text into the words that BPE works in: tokenizer.json's pre_tokenizer.
#pragma once
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace trimeter {

// tokenizers' SplitDelimiterBehavior: what becomes of a match.
enum class SplitBehavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct SplitStep {
  std::string pattern;  // a regular expression; a literal comes escaped; empty: no split
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // the matches are what lies between those of the pattern
  // Before the split:
  std::string space = " ";  // what takes the place of each space (Metaspace: U+2581)
  enum class Prefix { kNever, kFirst, kAlways };
  Prefix prefix = Prefix::kNever;  // put `space` in front of a piece that has none: of the text's beginning, of any
};

class PreTokenizer {
 public:
  PreTokenizer(const std::vector<SplitStep>& steps, const std::string& where);
  // The words of text, in order; those that a step rewrote live in `storage`. at_start: it is how the whole text
  // begins.
  std::vector<std::string_view> words(std::string_view text, bool at_start, std::deque<std::string>& storage) const;

 private:
  struct Step {
    SplitStep spec;
    std::vector<Regex> regex;  // none for a step that does not split
  };
  std::vector<Step> steps_;
};

}  // namespace trimeter
