#include "meters/garbage.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

namespace trimeter {
namespace {

// Two tokenizers, between whose lengths the real ones lie: words and marks, and single bytes.
std::vector<int32_t> words(const std::string& text) {
  static std::map<std::string, int32_t> ids;
  std::vector<int32_t> tokens;
  std::string word;
  const auto flush = [&] {
    if (!word.empty()) tokens.push_back(ids.emplace(word, static_cast<int32_t>(ids.size())).first->second);
    word.clear();
  };
  for (const char c : text) {
    if (std::isalpha(static_cast<unsigned char>(c)) == 0) flush();
    if (c != ' ') word.push_back(c);
    if (std::isalpha(static_cast<unsigned char>(c)) == 0) flush();
  }
  flush();
  return tokens;
}

std::vector<int32_t> bytes(const std::string& text) { return {text.begin(), text.end()}; }

std::string reason(const std::string& text) { return garbage_reason(text, words(text)); }

std::string times(int n, const std::string& piece) {
  std::string text;
  for (int i = 0; i < n; ++i) text += piece;
  return text;
}

TEST(Garbage, OrdinaryTextPasses) {
  std::string counting, evens;
  for (int i = 1; i <= 40; ++i) {
    counting += std::to_string(i) + ", ";
    evens += std::to_string(2 * i) + "\n";
  }
  const std::string texts[] = {
      "17",
      "The answer is 17.",
      "No.",
      "12 + 5 = 17. The farmer has 17 cows.",
      counting,
      evens,
      "5 + 5 = 10. 10 + 5 = 15. 15 + 5 = 20. 20 + 5 = 25. 25 + 5 = 30. 30 + 5 = 35. 35 + 5 = 40. 40 + 5 = 45. 45 + 5 = "
      "50. 50 + 5 = 55.",
      "\"No, no, no, no!\" cried the old man. \"Never, never, never!\"",
      "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n",
      "He said: \xE2\x80\x9Cna\xC3\xAFve caf\xC3\xA9\xE2\x80\x9D, and left. \xF0\x9F\x98\x80",
      "A character cut by the limit \xEF\xBF\xBD",
  };
  for (const std::string& text : texts) {
    EXPECT_EQ(garbage_reason(text, words(text)), "") << text;
    EXPECT_EQ(garbage_reason(text, bytes(text)), "") << text;
  }
}

TEST(Garbage, ARefrainPasses) {
  EXPECT_EQ(
      reason("Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is a dream."),
      "");
}

TEST(Garbage, TheEvaluationPassagesPass) {
  const char* source = std::getenv("TRIMETER_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  std::ifstream file(std::string(source) + "/data/eval/passages.jsonl");
  int n = 0;
  for (std::string line; std::getline(file, line); ++n) {
    const std::string text = nlohmann::json::parse(line).at("text");
    EXPECT_EQ(garbage_reason(text, words(text)), "") << text;
    EXPECT_EQ(garbage_reason(text, bytes(text)), "") << text;
  }
  EXPECT_GE(n, 40);
}

TEST(Garbage, Nothing) {
  EXPECT_EQ(garbage_reason("", {}), "empty");
  EXPECT_EQ(reason(" \n\t"), "empty");
}

TEST(Garbage, Characters) {
  EXPECT_EQ(reason("Once upon \xEF\xBF\xBD a time"), "bytes that are no UTF-8 (U+FFFD)");
  EXPECT_EQ(reason("Once upon " + times(4, "\xEF\xBF\xBD")), "bytes that are no UTF-8 (U+FFFD)");
  EXPECT_EQ(reason("Once\x01upon"), "a control character (0x01)");
  EXPECT_EQ(reason("Once\x7fupon"), "a control character (0x7f)");
}

TEST(Garbage, Loops) {
  EXPECT_EQ(reason(times(17, "the ")), "a loop of 1 token from token 1 on");
  EXPECT_EQ(reason(times(9, "tick tock ")), "a loop of 2 tokens from token 1 on");
  EXPECT_EQ(reason(times(8, "tick tock ") + "tick"), "");
  EXPECT_EQ(reason("He went home. " + times(3, "She was very happy and she sang. ")),
            "a loop of 8 tokens from token 4 on");
  EXPECT_EQ(
      reason("He went home. " + times(2, "She was very happy and she sang. ") + "She was very happy and they sang."),
      "");
  // and it counts although the text gets out of it again
  EXPECT_EQ(reason("He went home. " + times(3, "She was very happy and she sang. ") + "Then it was night."),
            "a loop of 8 tokens from token 4 on");
}

TEST(Garbage, OneTokenDominates) {
  EXPECT_EQ(reason("a the the b the the c the the d the the e the the f the the"), "one token is 67% of the text");
  EXPECT_EQ(reason("a the b the c the d the e the f the g the h the"), "");
  EXPECT_EQ(reason("a the the b the the"), "");  // too short to say
}

TEST(Garbage, FewDistinctTokens) {
  std::string text;  // four words in an order that never repeats for long: the parity sequence of Thue and Morse
  for (unsigned i = 0; i < 64; ++i)
    text += __builtin_parity(i) ? (__builtin_parity(i / 2) ? "sea " : "sky ")
                                : (__builtin_parity(i / 2) ? "sun " : "sand ");
  EXPECT_EQ(reason(text), "4 distinct tokens in 64");
  EXPECT_EQ(reason("It was a fine day and we all went down to the old harbour. " + text), "7 distinct tokens in 64");
  EXPECT_EQ(reason(text.substr(0, text.size() - 5)), "");  // 63 tokens
}

}  // namespace
}  // namespace trimeter
