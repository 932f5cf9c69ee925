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
  std::string pattern;  // a regular expression; a literal comes escaped
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // the matches are what lies between those of the pattern
  bool prefix_space =
      false;  // ByteLevel's add_prefix_space: each piece that begins with none gets one, before the split
};

class PreTokenizer {
 public:
  PreTokenizer(const std::vector<SplitStep>& steps, const std::string& where);
  // The words of text, in order; those that a prefix space made longer live in `storage`.
  std::vector<std::string_view> words(std::string_view text, std::deque<std::string>& storage) const;

 private:
  struct Step {
    SplitStep spec;
    std::vector<Regex> regex;  // none for a step that only adds a prefix space
  };
  std::vector<Step> steps_;
};

}  // namespace trimeter
