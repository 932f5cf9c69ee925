#include "text/bpe.h"

#include <gtest/gtest.h>

#include <random>

namespace trimeter {
namespace {

using Ids = std::vector<int32_t>;

// Tokens for all of a, b, c and many of their concatenations, merged in every way that gives one.
BpeParts abc(bool by_scores) {
  BpeParts parts;
  parts.byte_level = false;
  std::vector<std::string> tokens = {"a", "b", "c"};
  for (size_t i = 0; i < tokens.size() && tokens.size() < 300; ++i)
    for (const char letter : {'a', 'b', 'c'}) tokens.push_back(tokens[i] + letter);
  for (size_t i = 0; i < tokens.size(); ++i) {
    parts.vocab.emplace(tokens[i], static_cast<int32_t>(i));
    if (by_scores) parts.scores.push_back(static_cast<float>(tokens[i].size()));  // the longest first
  }
  for (const std::string& token : tokens)
    for (size_t cut = 1; !by_scores && cut < token.size(); ++cut)
      parts.merges.emplace_back(token.substr(0, cut), token.substr(cut));
  return parts;
}

// The bound that O(n log n) stands on, on lines of a megabyte; a search through what is left after each merge would
// take 10^11 steps.
TEST(Bpe, AMegabyteTakesFourStepsASymbol) {
  std::mt19937 random(3);
  std::string same(1 << 20, 'a'), mixed;
  for (int i = 0; i < 1 << 20; ++i) mixed += static_cast<char>('a' + random() % 3);
  for (const auto& [word, by_scores] : {std::pair(same, true), std::pair(mixed, false)}) {
    Ids ids;
    const int64_t n_steps = Bpe(abc(by_scores), "test").encode(word, ids);
    EXPECT_LE(n_steps, 4 * static_cast<int64_t>(word.size()));
    EXPECT_GE(n_steps, static_cast<int64_t>(word.size())) << "nothing was counted";
    EXPECT_LT(ids.size(), word.size());
  }
}

TEST(Bpe, UnknownCharactersAreBytesThenUnkThenNothing) {
  BpeParts parts;
  parts.byte_level = false;
  parts.vocab = {{"<unk>", 0}, {"a", 1}, {"<0xC3>", 2}, {"<0xA9>", 3}};
  const auto ids = [&](std::string_view word) {
    Ids out;
    Bpe(parts, "test").encode(word, out);
    return out;
  };
  EXPECT_EQ(ids("a\u00E9a"), (Ids{1, 1}));
  parts.unk_id = 0;
  EXPECT_EQ(ids("a\u00E9\u00E8a"), (Ids{1, 0, 0, 1}));
  parts.fuse_unk = true;
  EXPECT_EQ(ids("a\u00E9\u00E8a"), (Ids{1, 0, 1}));
  parts.byte_fallback = true;
  EXPECT_EQ(ids("a\u00E9a"), (Ids{1, 2, 3, 1}));
  EXPECT_EQ(ids("a\u00E8a"), (Ids{1, 0, 1})) << "<0xA8> is no token";
  EXPECT_EQ(ids("\u00E8\u00E9a"), (Ids{2, 3, 0, 1})) << "tokenizers writes the unknown run down late";
}

}  // namespace
}  // namespace trimeter
