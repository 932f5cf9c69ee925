#include "text/unigram.h"

#include <gtest/gtest.h>

#include <random>

namespace trimeter {
namespace {

using Ids = std::vector<int32_t>;

UnigramParts parts_of(const std::vector<std::pair<std::string, double>>& vocab) {
  UnigramParts parts;
  for (const auto& [token, score] : vocab) {
    parts.vocab.emplace(token, static_cast<int32_t>(parts.scores.size()));
    parts.scores.push_back(score);
  }
  return parts;
}

Ids encode(const UnigramParts& parts, std::string_view word) {
  Ids ids;
  Unigram(parts).encode(word, ids);
  return ids;
}

TEST(Unigram, TheHighestSumWinsTheFirstFoundAmongEquals) {
  const UnigramParts parts = parts_of({{"<unk>", 0}, {"a", -1}, {"b", -1}, {"ab", -3}, {"ba", -1.5}, {"aba", -2.5}});
  EXPECT_EQ(encode(parts, "ab"), (Ids{1, 2}));
  EXPECT_EQ(encode(parts, "aba"), (Ids{5})) << "a + ba is as good, but ends here later";
  EXPECT_EQ(encode(parts, "abab"), (Ids{5, 2}));
}

// The worst token has -1.5 here.
TEST(Unigram, AnUnknownCharacterCostsTenMoreThanTheWorstToken) {
  const UnigramParts parts = parts_of({{"<unk>", 0}, {"a", 9}, {"xa", -1.5}, {"b", -1.5}});
  EXPECT_EQ(encode(parts, "xa"), (Ids{2})) << "-1.5 against -11.5 + 9";
  const UnigramParts better = parts_of({{"<unk>", 0}, {"a", 11}, {"xa", -1.5}, {"b", -1.5}});
  EXPECT_EQ(encode(better, "xa"), (Ids{0, 1})) << "-1.5 against -11.5 + 11";
}

TEST(Unigram, AnUnknownRunIsOneTokenItsOwnOrItsBytes) {
  UnigramParts parts = parts_of({{"<unk>", 0}, {"a", -1}, {"<0xC3>", -1}, {"<0xA9>", -1}, {"xy", -100}});
  EXPECT_EQ(encode(parts, "a\u00E9\u00E9\u00E8a"), (Ids{1, 0, 1}));
  EXPECT_EQ(encode(parts, "xy"), (Ids{4}));
  parts.byte_fallback = true;
  EXPECT_EQ(encode(parts, "a\u00E9\u00E9a"), (Ids{1, 2, 3, 2, 3, 1}));
  EXPECT_EQ(encode(parts, "\u00E9\u00E8"), (Ids{0})) << "<0xA8> is no token";
}

TEST(Unigram, AMegabyteTakesAsManyStepsAsItsLongestTokenHasBytes) {
  std::string longest(24, 'a'), same(1 << 20, 'a'), mixed;
  std::mt19937 random(3);
  for (int i = 0; i < 1 << 20; ++i) mixed += static_cast<char>('a' + random() % 3);
  std::vector<std::pair<std::string, double>> vocab = {{"<unk>", 0}, {"b", -2}, {"ab", -2}, {"abc", -2.5}};
  for (size_t n = 1; n <= longest.size(); ++n) vocab.emplace_back(longest.substr(0, n), -1.5);
  const Unigram unigram(parts_of(vocab));
  for (const std::string& word : {same, mixed}) {
    Ids ids;
    const int64_t n_steps = unigram.encode(word, ids), n = static_cast<int64_t>(word.size());
    EXPECT_LE(n_steps, n + n * static_cast<int64_t>(longest.size()));
    EXPECT_GE(n_steps, n) << "nothing was counted";
    EXPECT_FALSE(ids.empty());
  }
}

}  // namespace
}  // namespace trimeter
