// Rewrites text before it is cut into words: tokenizer.json's normalizer.
#pragma once
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/charsmap.h"
#include "text/regex.h"
#include "text/utf8.h"

namespace trimeter {

struct PrependStep {
  std::string text;  // in front of any text but the empty one
};
struct ReplaceStep {
  std::string pattern;  // a regular expression; a literal comes escaped
  std::string content;
};
struct StripStep {
  bool left = true, right = true;  // white space
};
struct CharsmapStep {
  std::string bytes;  // precompiled_charsmap, decoded from base64
};
using NormalizerStep = std::variant<UnicodeForm, PrependStep, ReplaceStep, StripStep, CharsmapStep>;

class Normalizer {
 public:
  // Throws Error(kBadFile) naming `where` for a pattern or a charsmap that is none.
  Normalizer(const std::vector<NormalizerStep>& steps, const std::string& where);
  bool empty() const { return steps_.empty(); }
  std::string apply(std::string_view text) const;

 private:
  struct Replace {
    Regex regex;
    std::string content;
  };
  std::vector<std::variant<UnicodeForm, PrependStep, Replace, StripStep, Charsmap>> steps_;
};

}  // namespace trimeter
