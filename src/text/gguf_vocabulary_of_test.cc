// tokenizer.json -> what a GGUF file carries -> a tokenizer: the ids that Hugging Face's tokenizers gave
// (tests/golden/make_text_golden.py, make_sentencepiece_golden.py).
#include "text/gguf_vocabulary_of.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "text/golden_files.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;
using Sentences = std::vector<std::string>;

const char* const kPath = "dir/tokenizer.json";

TokenizerParts parts_of(const Json& tokenizer, const std::string& config = "") {
  return parse_tokenizer_file(tokenizer.dump(), config, kPath);
}

WrittenGgufVocabulary written(const Json& tokenizer, int64_t n_tokens, const std::string& config = "") {
  return gguf_vocabulary_of(parts_of(tokenizer, config), n_tokens, kPath);
}

void expect_refused(const Json& tokenizer, const std::string& message, int64_t n_tokens = 1100) {
  try {
    written(tokenizer, n_tokens);
    ADD_FAILURE() << "accepted, wanted: " << message;
  } catch (const Error& e) {
    EXPECT_TRUE(std::string(e.what()).starts_with(std::string(kPath) + ": " + message)) << e.what();
  }
}

Json text_golden(const std::string& name) { return Json::parse(file_text(source_dir() / "tests/golden/text" / name)); }
Json tiny(const std::string& name) { return text_golden(name + "/tokenizer.json"); }

Json patched(Json file, const Json& patch) {
  for (const auto& [pointer, value] : patch.items()) file[Json::json_pointer(pointer)] = value;
  return file;
}

struct Variant {
  Json tokenizer, golden;
};

Variant sentencepiece_variant(const std::string& name) {
  const Json file = text_golden("sentencepiece_bpe.json");
  for (const Json& one : file["variants"])
    if (one["name"] == name) return {patched(file["base"], one["patch"]), one};
  throw std::runtime_error("no variant " + name);
}

Json sentencepiece(const std::string& variant) { return sentencepiece_variant(variant).tokenizer; }

// The golden file's Gemma without the added token of three U+2581, which in Gemma is a token of the model too.
Json gemma() {
  Json tokenizer = sentencepiece("gemma");
  Json& added = tokenizer["added_tokens"];
  for (auto token = added.begin(); token != added.end();)
    token = (*token)["content"].get<std::string>().starts_with(kMetaSpace) ? added.erase(token) : token + 1;
  return tokenizer;
}

// The tokens that look at their neighbours, which a GGUF file cannot say, taken out.
Json without_tokens_that_look_around(Json tokenizer) {
  Json& added = tokenizer["added_tokens"];
  for (auto token = added.begin(); token != added.end();)
    token = (*token)["lstrip"] || (*token)["rstrip"] || (*token)["single_word"] ? added.erase(token) : token + 1;
  return tokenizer;
}

bool has_any(const std::string& text, const Sentences& parts) {
  return std::any_of(parts.begin(), parts.end(), [&](const auto& p) { return text.find(p) != std::string::npos; });
}

struct ByteLevelCase {
  const char *name, *tokenizer, *golden, *pre;
  Sentences left_out;  // texts with one of these: tokens that are not there, U+017F in a contraction
  Sentences differences;
};

TEST(GgufVocabularyOf, ByteLevelEncodesAsHuggingFace) {
  const std::string nfc = "text that is not in NFC is not normalized";
  const ByteLevelCase cases[] = {
      {"demo", "models/demo/tokenizer.json", "tokenizer_demo.json", "qwen2", {"'\u017F"}, {nfc}},
      {"tiny_qwen2",
       "tests/golden/text/tiny_qwen2/tokenizer.json",
       "tokenizer_tiny_qwen2.json",
       "qwen2",
       {"'\u017F", "cafe\u0301"},
       {"'cafe\u0301' is found in the text as it stands, not in the normalized one", nfc}},
      {"tiny_llama3",
       "tests/golden/text/tiny_llama3/tokenizer.json",
       "tokenizer_tiny_llama3.json",
       "llama-bpe",
       {"'\u017F", "<tool>", "word"},
       {}}};
  for (const ByteLevelCase& c : cases) {
    SCOPED_TRACE(c.name);
    const Json tokenizer = without_tokens_that_look_around(Json::parse(file_text(source_dir() / c.tokenizer)));
    const Json golden = text_golden(c.golden);
    const WrittenGgufVocabulary w = written(tokenizer, 5000);
    EXPECT_EQ(w.vocabulary.model, "gpt2");
    EXPECT_EQ(w.vocabulary.pre, c.pre);
    EXPECT_EQ(w.differences, c.differences);
    const Tokenizer back = Tokenizer::from_gguf(w.vocabulary, "t.gguf");
    int n_checked = 0;
    for (const Json& one : golden["encode"]) {
      const auto text = one["text"].get<std::string>();
      if (has_any(text, c.left_out) || (!c.differences.empty() && normalized(text, UnicodeForm::kNfc) != text))
        continue;
      Ids ids = one.value("special_tokens_before", Ids{});
      for (const Json& id : one["ids"]) ids.push_back(id);
      EXPECT_EQ(back.encode(text, true), ids) << testing::PrintToString(text);
      ++n_checked;
    }
    EXPECT_GT(n_checked, 150);
  }
}

// The same tokens from the words of the original, so that a file which cuts otherwise shows.
TEST(GgufVocabularyOf, DigitsAndBytesBecomeSmollm) {
  const Json tokenizer = patched(tiny("tiny_gpt2"), Json::parse(R"({"/pre_tokenizer": {"type": "Sequence",
      "pretokenizers": [{"type": "Digits", "individual_digits": true},
                        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]}})"));
  const WrittenGgufVocabulary w = written(tokenizer, 400);
  EXPECT_EQ(w.vocabulary.pre, "smollm");
  EXPECT_EQ(w.differences, Sentences{});
  const Tokenizer original = Tokenizer::parse(tokenizer.dump(), "", kPath);
  const Tokenizer back = Tokenizer::from_gguf(w.vocabulary, "t.gguf");
  const Json golden = text_golden("tokenizer_tiny_gpt2.json");
  for (const Json& one : golden["encode"]) {
    const auto text = one["text"].get<std::string>();
    EXPECT_EQ(back.encode(text, true), original.encode(text, true)) << testing::PrintToString(text);
  }
}

TEST(GgufVocabularyOf, TheNameDependsOnIgnoreMerges) {
  const Json llama3 = without_tokens_that_look_around(tiny("tiny_llama3"));
  EXPECT_EQ(written(patched(llama3, {{"/model/ignore_merges", true}}), 700).vocabulary.pre, "llama-bpe");
  EXPECT_EQ(written(patched(llama3, {{"/model/ignore_merges", false}}), 700).vocabulary.pre, "smaug-bpe");
  expect_refused(patched(tiny("tiny_qwen2"), {{"/model/ignore_merges", true}}),
                 "pre_tokenizer: for a GGUF file wanted that of one of chatglm-bpe, ");
}

TEST(GgufVocabularyOf, RefusesWordsThatNoNameMeans) {
  const Json gpt2 = tiny("tiny_gpt2");
  const auto expect_steps = [&](const char* pre_tokenizer, const std::string& got) {
    const Json tokenizer = patched(gpt2, {{"/pre_tokenizer", Json::parse(pre_tokenizer)}});
    try {
      written(tokenizer, 400);
      ADD_FAILURE() << "accepted, wanted: " << got;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Errc::kUnsupported);
      EXPECT_TRUE(std::string(e.what()).ends_with("got " + got + " with ignore_merges false")) << e.what();
    }
  };
  expect_steps(R"({"type": "ByteLevel", "add_prefix_space": true})",
               "['" + std::string(R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)") +
                   "' isolated, a space put in front]");
  expect_steps(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Removed", "invert": true},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})",
               "['x+' inverted, removed; no split]");
  expect_steps(R"({"type": "Sequence", "pretokenizers": [{"type": "Digits"},
      {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})",
               R"(['\p{N}' contiguous; no split])");
}

TEST(GgufVocabularyOf, SentencePieceEncodesAsHuggingFace) {
  const std::string space_in_front = "a text that begins with a space";
  struct Case {
    const char* name;
    Sentences differences;
  };
  const Case cases[] = {{"llama2", {}},
                        {"around", {}},
                        {"gemma", {}},
                        {"mistral_v03", {space_in_front + ", and each behind a special token, has one more in front"}}};
  const Json texts = text_golden("sentencepiece_texts.json")["texts"];
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const auto [of_variant, variant] = sentencepiece_variant(c.name);
    const Json tokenizer = c.name == std::string("gemma") ? gemma() : of_variant;
    const WrittenGgufVocabulary w = written(tokenizer, 1100);
    EXPECT_EQ(w.vocabulary.model, "llama");
    EXPECT_EQ(w.differences, c.differences);
    const Tokenizer back = Tokenizer::from_gguf(w.vocabulary, "t.gguf");
    Sentences added;
    for (const Json& token : tokenizer["added_tokens"]) added.push_back(token["content"]);
    int n_checked = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto text = texts[i].get<std::string>();
      const bool spaced = text.starts_with(" ") || text.starts_with(kMetaSpace);
      if (!c.differences.empty() && (spaced || has_any(text, added))) continue;
      if (text.find("\u2581\u2581\u2581") != std::string::npos) continue;  // one that gemma() lacks
      Ids ids = variant["before"];
      for (const Json& part : {variant["encode"][i][0], variant["after"]})
        for (const Json& id : part) ids.push_back(id);
      EXPECT_EQ(back.encode(text, true), ids) << testing::PrintToString(text);
      ++n_checked;
    }
    EXPECT_GT(n_checked, 150);
  }
}

TEST(GgufVocabularyOf, WhatIsWrittenForSentencePiece) {
  const GgufVocabulary v =
      written(sentencepiece("llama2"), 1003, R"({"bos_token": "<s>", "eos_token": "</s>", "pad_token": {"content":
      "</s>"}, "chat_template": "{{ x }}"})")
          .vocabulary;
  ASSERT_EQ(v.tokens.size(), 1003u);
  ASSERT_EQ(v.token_type.size(), 1003u);
  ASSERT_EQ(v.scores.size(), 1003u);
  const auto type = [&](size_t id) { return static_cast<GgufTokenType>(v.token_type[id]); };
  EXPECT_EQ(v.tokens[0], "<unk>");
  EXPECT_EQ(type(0), GgufTokenType::kUnknown);
  EXPECT_EQ(type(1), GgufTokenType::kControl);
  EXPECT_EQ(type(2), GgufTokenType::kControl);
  EXPECT_EQ(std::count(v.token_type.begin(), v.token_type.end(), static_cast<int32_t>(GgufTokenType::kByte)), 256);
  EXPECT_EQ(v.tokens[3], "<0x00>");
  EXPECT_EQ(type(3), GgufTokenType::kByte);
  EXPECT_EQ(type(999), GgufTokenType::kNormal);
  for (size_t id = 1000; id < 1003; ++id) {
    EXPECT_EQ(v.tokens[id], fmt::format("[PAD{}]", id));
    EXPECT_EQ(type(id), GgufTokenType::kUnused);
  }
  EXPECT_EQ(v.bos_token_id, 1);
  EXPECT_EQ(v.eos_token_id, 2);
  EXPECT_EQ(v.padding_token_id, 2);
  EXPECT_EQ(v.unknown_token_id, 0);
  EXPECT_EQ(v.add_bos_token, true);
  EXPECT_EQ(v.add_eos_token, false);
  EXPECT_EQ(v.add_space_prefix, true);
  EXPECT_EQ(v.chat_template, "{{ x }}");
  EXPECT_EQ(written(gemma(), 1100).vocabulary.add_space_prefix, false);
  EXPECT_EQ(written(sentencepiece("around"), 1100).vocabulary.add_eos_token, true);
  // A template's token is bos_token where no file names one.
  EXPECT_EQ(written(sentencepiece("around"), 1100).vocabulary.bos_token_id, 1);
  EXPECT_EQ(written(sentencepiece("around"), 1100).vocabulary.eos_token_id, 2);
}

TEST(GgufVocabularyOf, RefusesWhatAFileCannotSay) {
  expect_refused(sentencepiece("gemma"),
                 "added_tokens: '\u2581\u2581\u2581' has a U+2581 and is no token of the model");
  const Json unigram = text_golden("sentencepiece_unigram.json")["base"];
  expect_refused(unigram, "model: a GGUF file of 'Unigram' cannot be written");
  const Json base = sentencepiece("llama2");
  expect_refused(base, "token '", 999);
  expect_refused(tiny("tiny_llama3"), "added_tokens: '<tool>' is lstrip, for which a GGUF file has no word");
  expect_refused(sentencepiece("metaspace_always"), "decoder: for a GGUF file wanted spaces for U+2581, ByteFallback");
  expect_refused(patched(base, {{"/normalizer/normalizers/0/prepend", "_"}}),
                 "normalizer: for a GGUF file wanted U+2581 for spaces (Prepend, Replace), got another");
  expect_refused(sentencepiece("white_space_split"), "normalizer: ");
  expect_refused(sentencepiece("no_bytes_fused"),
                 "model: for a GGUF file wanted byte_fallback true and ignore_merges false, got false and false");
  expect_refused(sentencepiece("ignore_merges"),
                 "model: for a GGUF file wanted byte_fallback true and ignore_merges false, got true and true");
  expect_refused(patched(base, {{"/normalizer", nullptr}}),
                 "pre_tokenizer: for a GGUF file wanted U+2581 for spaces (Replace or Metaspace), got []");
  expect_refused(patched(base, {{"/decoder/decoders/3/start", 2}}), "decoder: ");
  Json missing = base;
  missing["model"]["vocab"].erase("<0x41>");
  expect_refused(missing, "model.vocab: for a GGUF file wanted a token '<0x41>', got none");
  Json two = patched(base, {{"/post_processor/special_tokens/<s>/ids", {1, 2}},
                            {"/post_processor/special_tokens/<s>/tokens", {"<s>", "</s>"}}});
  expect_refused(two, "post_processor: for a GGUF file wanted nothing or bos_token before the text, got 2 tokens");
  expect_refused(patched(tiny("tiny_qwen2"), {{"/normalizer", {{"type", "NFKC"}}}}),
                 "normalizer: for a GGUF file wanted none or NFC, got another");
}

// ids by order: x y z ...
BpeParts parts_of(const std::vector<std::string>& tokens,
                  const std::vector<std::pair<std::string, std::string>>& merges) {
  BpeParts bpe;
  bpe.byte_level = false;
  for (size_t id = 0; id < tokens.size(); ++id) bpe.vocab.emplace(tokens[id], static_cast<int32_t>(id));
  bpe.merges = merges;
  return bpe;
}

void expect_scores(const std::vector<std::string>& tokens,
                   const std::vector<std::pair<std::string, std::string>>& merges, const std::vector<float>& wanted) {
  EXPECT_EQ(scores_of_merges(parts_of(tokens, merges), tokens, {}, kPath), wanted);
}

void expect_no_scores(const std::vector<std::string>& tokens,
                      const std::vector<std::pair<std::string, std::string>>& merges, const std::string& message) {
  try {
    scores_of_merges(parts_of(tokens, merges), tokens, {}, kPath);
    ADD_FAILURE() << "accepted, wanted: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Errc::kUnsupported);
    EXPECT_EQ(std::string(e.what()), std::string(kPath) + ": model.merges" + message);
  }
}

TEST(GgufScores, FirstMadeIsHighest) {
  expect_scores({"a", "b", "c", "bc", "abc", "ab"}, {{"b", "c"}, {"a", "b"}, {"ab", "c"}, {"a", "bc"}},
                {-4, -4, -4, -1, -3, -2});
  expect_scores({"a", "b", "abz"}, {}, {-1, -1, -1});  // nothing makes the half of "abz"
}

TEST(GgufScores, RefusesWhatScoresCannotSay) {
  expect_no_scores({"a", "b", "c", "ab", "bc", "abc"}, {{"a", "b"}, {"b", "c"}, {"ab", "c"}},
                   ": for a GGUF file wanted ('a', 'bc'), which merging by score does, got none");
  expect_no_scores({"a", "b", "c", "ab", "bc", "abc"}, {{"a", "b"}, {"ab", "c"}, {"b", "c"}, {"a", "bc"}},
                   "[3] ('a', 'bc'): for a GGUF file wanted next to the others that make this token: merging by score "
                   "cannot tell them apart, got another between");
}

// Vocabularies at random, in which each token has all its merges, in any order: every text of up to 9 letters.
TEST(GgufScores, GiveTheTokensOfTheMerges) {
  std::mt19937 random(1);
  const auto one_of = [&](const auto& list) { return list[random() % list.size()]; };
  int n_with_several = 0;  // vocabularies with a token of several merges
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<std::string> tokens = {"a", "b"};
    for (int i = 0; i < 12; ++i)
      if (const std::string token = one_of(tokens) + one_of(tokens);
          token.size() <= 7 && std::find(tokens.begin(), tokens.end(), token) == tokens.end())
        tokens.push_back(token);
    std::shuffle(tokens.begin() + 2, tokens.end(), random);
    std::vector<std::pair<std::string, std::string>> merges;
    for (const std::string& token : tokens) {
      const auto n_before = std::ssize(merges);
      for (size_t cut = 1; cut < token.size(); ++cut)
        if (const std::string left = token.substr(0, cut), right = token.substr(cut);
            std::find(tokens.begin(), tokens.end(), left) != tokens.end() &&
            std::find(tokens.begin(), tokens.end(), right) != tokens.end())
          merges.emplace_back(left, right);
      std::shuffle(merges.begin() + n_before, merges.end(), random);
      n_with_several += std::ssize(merges) > n_before + 1;
    }
    const BpeParts by_rank = parts_of(tokens, merges);
    BpeParts by_score = parts_of(tokens, {});
    by_score.scores = scores_of_merges(by_rank, tokens, {}, kPath);
    const Bpe theirs(by_rank, kPath), ours(by_score, kPath);
    for (unsigned text = 2; text < 1024; ++text) {  // its bits below the highest: a or b
      std::string word;
      for (unsigned rest = text; rest > 1; rest >>= 1) word += rest % 2 ? 'b' : 'a';
      Ids wanted, got;
      theirs.encode(word, wanted);
      ours.encode(word, got);
      ASSERT_EQ(got, wanted) << word << ", trial " << trial;
    }
  }
  EXPECT_GT(n_with_several, 200);
}

// An added token is found in the text before anything is merged.
TEST(GgufScores, AddedTokensNeedNoMerges) {
  const std::vector<std::string> tokens = {"a", "b", "ab"};
  expect_no_scores(tokens, {}, ": for a GGUF file wanted ('a', 'b'), which merging by score does, got none");
  AddedToken added;
  added.content = "ab";
  added.id = 2;
  EXPECT_EQ(scores_of_merges(parts_of(tokens, {}), tokens, {added}, kPath), (std::vector<float>{-1, -1, -1}));
}

}  // namespace
}  // namespace trimeter
