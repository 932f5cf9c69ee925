#include "text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/golden_files.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;
using Words = std::vector<std::string>;

Words words(const SplitStep& step, std::string_view text) {
  std::deque<std::string> storage;
  const auto views = PreTokenizer({step}, "test").words(text, true, storage);
  return {views.begin(), views.end()};
}

TEST(PreTokenizer, SplitsAsHuggingFace) {
  const std::map<std::string, SplitBehavior> behaviors = {{"isolated", SplitBehavior::kIsolated},
                                                          {"removed", SplitBehavior::kRemoved},
                                                          {"merged_with_previous", SplitBehavior::kMergedWithPrevious},
                                                          {"merged_with_next", SplitBehavior::kMergedWithNext},
                                                          {"contiguous", SplitBehavior::kContiguous}};
  const Json golden = Json::parse(file_text(source_dir() / "tests/golden/text/splits.json"));
  ASSERT_EQ(golden["cases"].size(), 30u);
  for (const Json& c : golden["cases"]) {
    const SplitStep step{c["pattern"], behaviors.at(c["behavior"]), c["invert"]};
    EXPECT_EQ(words(step, c["text"].get<std::string>()), c["pieces"].get<Words>()) << c;
  }
}

// \s is White_Space and nothing else, inside a class and outside: not U+180E, which PCRE2's own \s has, but U+0085.
TEST(PreTokenizer, SpacesAreUnicodeWhiteSpace) {
  const std::string text = "a\u180E\u0085\u3000b";
  for (const char* pattern : {R"(\s+)", R"([\s]+)", R"([^\S]+)", R"([\]\s]+)"}) {
    EXPECT_EQ(words({pattern, SplitBehavior::kIsolated}, text), (Words{"a\u180E", "\u0085\u3000", "b"})) << pattern;
  }
  EXPECT_EQ(words({R"(\S+)", SplitBehavior::kIsolated, true}, text), (Words{"a\u180E", "\u0085\u3000", "b"}));
}

TEST(PreTokenizer, PatternThatExplodesIsAnError) {
  const SplitStep step{"(a+)+(a+)+c", SplitBehavior::kIsolated};
  EXPECT_THROW(words(step, std::string(4000, 'a') + "!c"), Error);
}

}  // namespace
}  // namespace trimeter
