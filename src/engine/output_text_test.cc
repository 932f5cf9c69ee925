#include "engine/output_text.h"

#include <gtest/gtest.h>

#include <random>

namespace trimeter {
namespace {

// What a reader sees, piece by piece; ends at the stop string or at the end of the pieces.
std::vector<std::string> stream(const std::vector<std::string>& pieces, std::vector<std::string> stop) {
  OutputText text(std::move(stop));
  std::vector<std::string> shown;
  for (const std::string& piece : pieces) {
    const bool stopped = text.push(piece);
    shown.emplace_back(text.take());
    if (stopped) return shown;
  }
  text.finish();
  shown.emplace_back(text.take());
  return shown;
}
using Pieces = std::vector<std::string>;

TEST(OutputText, NeverHalfACharacter) {
  // U+20AC is e2 82 ac.
  EXPECT_EQ(stream({"a\xe2", "\x82",
                    "\xac"
                    "b"},
                   {}),
            (Pieces{"a", "",
                    "\xe2\x82\xac"
                    "b",
                    ""}));
  EXPECT_EQ(stream({"a\xe2\x82"}, {}), (Pieces{"a", "\xef\xbf\xbd"})) << "cut short: U+FFFD at the end";
}

TEST(OutputText, AStopStringOverSeveralTokensIsNeverShown) {
  EXPECT_EQ(stream({"one ", "EN", "D", "two"}, {"END"}), (Pieces{"one ", "", ""}));
  EXPECT_EQ(stream({"one ", "EN", "T", "two"}, {"END"}), (Pieces{"one ", "", "ENT", "two", ""}));
  EXPECT_EQ(stream({"xENDy"}, {"END"}), (Pieces{"x"}));
  EXPECT_EQ(stream({"one EN"}, {"END"}), (Pieces{"one ", "EN"})) << "what was held back comes at the end";
}

TEST(OutputText, HoldsBackTheLongestTailThatCouldBecomeAStop) {
  EXPECT_EQ(stream({"aab", "aab", "c"}, {"aabaac"}), (Pieces{"", "aab", "aabc", ""}));
  EXPECT_EQ(stream({"ab", "x"}, {"abc", "b!"}), (Pieces{"", "abx", ""}));
}

TEST(OutputText, TheEarliestStopStringCounts) {
  EXPECT_EQ(stream({"a b c"}, {"c", "b"}), (Pieces{"a "}));
  EXPECT_EQ(stream({"abc"}, {"bc", "abc"}), (Pieces{""}));
}

// Any cut into pieces shows the same text, and never anything that is taken back.
TEST(OutputText, CutsDoNotMatter) {
  std::mt19937 random(1);
  for (int round = 0; round < 3000; ++round) {
    std::string whole;
    for (unsigned i = 0; i < 30; ++i) whole += std::vector<std::string>{"a", "b", "\xc3\xa9"}[random() % 3];
    Pieces stop;
    for (unsigned i = 0; i < random() % 3; ++i)
      stop.push_back(std::vector<std::string>{"aab", "ab\xc3\xa9", "bb",
                                              "\xc3\xa9\xc3\xa9"
                                              "a",
                                              "aaaa"}[random() % 5]);
    size_t cut = whole.size();
    for (const std::string& s : stop) cut = std::min(cut, whole.find(s));
    Pieces pieces;
    for (size_t at = 0; at < whole.size();) {
      pieces.push_back(whole.substr(at, 1 + random() % 4));
      at += pieces.back().size();
    }
    std::string shown;
    for (const std::string& piece : stream(pieces, stop)) shown += piece;
    ASSERT_EQ(shown, whole.substr(0, cut));
  }
}

}  // namespace
}  // namespace trimeter
