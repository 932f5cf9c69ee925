// Vocabularies as GGUF files carry them, against llama.cpp (tests/golden/make_gguf_tokenizer_golden.py) and by hand.
#include "text/gguf_vocabulary.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/golden_files.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

// What llama.cpp's converter writes for a byte-level tokenizer.json.
GgufVocabulary vocabulary_of(const std::filesystem::path& tokenizer_json, const std::string& pre) {
  const Json json = Json::parse(file_text(tokenizer_json));
  GgufVocabulary v;
  v.model = "gpt2";
  v.pre = pre;
  const auto set = [&](const std::string& token, size_t id, GgufTokenType type) {
    if (v.tokens.size() <= id) v.tokens.resize(id + 1);
    v.token_type.resize(v.tokens.size(), static_cast<int32_t>(GgufTokenType::kUnused));
    v.tokens[id] = token;
    v.token_type[id] = static_cast<int32_t>(type);
  };
  for (const auto& [token, id] : json["model"]["vocab"].items()) set(token, id, GgufTokenType::kNormal);
  for (const Json& added : json["added_tokens"])
    set(added["content"], added["id"], added["special"] ? GgufTokenType::kControl : GgufTokenType::kUserDefined);
  for (const Json& merge : json["model"]["merges"])
    v.merges.push_back(merge.is_string() ? merge.get<std::string>()
                                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  return v;
}

TEST(GgufVocabulary, DemoEncodesAsItsTokenizerJson) {
  const Tokenizer tokenizer =
      Tokenizer::from_gguf(vocabulary_of(source_dir() / "models/demo/tokenizer.json", "qwen2"), "demo.gguf");
  const Json golden = Json::parse(file_text(source_dir() / "tests/golden/text/tokenizer_demo.json"));
  int n_checked = 0;
  for (const Json& c : golden["encode"]) {
    const auto text = c["text"].get<std::string>();
    // llama.cpp does not normalize, and only tokenizer.json's (?i:'s) takes U+017F for an s.
    if (normalized(text, UnicodeForm::kNfc) != text || text.find("'\u017F") != std::string::npos) continue;
    EXPECT_EQ(tokenizer.encode(text, true), c["ids"].get<Ids>()) << text;
    EXPECT_EQ(tokenizer.decode(c["ids"].get<Ids>(), true), c.value("decoded_skipping", text));
    ++n_checked;
  }
  EXPECT_GT(n_checked, 200);
}

Json llama_cpp_golden() { return Json::parse(file_text(source_dir() / "tests/golden/text/gguf_tokenizers.json")); }

// cases: as tests/golden/make_gguf_tokenizer_golden.py has them.
void expect_cases(const Tokenizer& tokenizer, const Json& cases, const Json& texts) {
  ASSERT_EQ(cases.size(), texts.size());
  ASSERT_GT(cases.size(), 200u);
  for (size_t i = 0; i < texts.size(); ++i) {
    const auto text = texts[i].get<std::string>();
    SCOPED_TRACE(testing::PrintToString(text));
    const Ids ids = cases[i][0].get<Ids>();
    EXPECT_EQ(tokenizer.encode(text, true), ids);
    std::string bytes;
    for (const int32_t id : ids) bytes += tokenizer.token_bytes(id);
    EXPECT_EQ(bytes, cases[i].size() > 1 ? cases[i][1].get<std::string>() : text);
  }
}

TEST(GgufVocabulary, EveryPreTokenizerCutsAsLlamaCpp) {
  const Json golden = llama_cpp_golden();
  GgufVocabulary v;
  v.model = "gpt2";
  v.tokens = golden["gpt2"]["tokens"].get<std::vector<std::string>>();
  v.token_type = golden["gpt2"]["token_type"].get<std::vector<int32_t>>();
  v.merges = golden["gpt2"]["merges"].get<std::vector<std::string>>();
  v.add_bos_token = false;
  ASSERT_EQ(golden["kinds"].size(), 12u);
  for (const Json& kind : golden["kinds"]) {
    v.pre = kind["pre"];
    SCOPED_TRACE(v.pre);
    expect_cases(Tokenizer::from_gguf(v, "t.gguf"), kind["encode"], golden["texts"]);
  }
}

TEST(GgufVocabulary, SentencePieceMergesAsLlamaCpp) {
  const Json golden = llama_cpp_golden();
  const Json words = Json::parse(file_text(source_dir() / "tests/golden/text/sentencepiece_gguf.json"));
  GgufVocabulary v;
  v.model = "llama";
  v.tokens = words["tokens"].get<std::vector<std::string>>();
  v.scores = words["scores"].get<std::vector<float>>();
  v.token_type = words["token_type"].get<std::vector<int32_t>>();
  ASSERT_EQ(golden["llama"].size(), 2u);
  for (const Json& c : golden["llama"]) {
    v.add_space_prefix = c["add_space_prefix"].get<bool>();
    SCOPED_TRACE(*v.add_space_prefix);
    expect_cases(Tokenizer::from_gguf(v, "t.gguf"), c["encode"], golden["texts"]);
  }
}

GgufVocabulary sentencepiece() {
  GgufVocabulary v;
  v.model = "llama";
  v.tokens = {"<unk>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte) v.tokens.push_back(fmt::format("<0x{:02X}>", byte));
  v.token_type = {2, 3, 3};
  v.token_type.resize(v.tokens.size(), static_cast<int32_t>(GgufTokenType::kByte));
  v.scores.resize(v.tokens.size(), 0);
  return v;
}

int32_t add(GgufVocabulary& v, const std::string& token, float score) {
  v.tokens.push_back(token);
  v.token_type.push_back(static_cast<int32_t>(GgufTokenType::kNormal));
  v.scores.push_back(score);
  return static_cast<int32_t>(v.tokens.size()) - 1;
}

TEST(GgufVocabulary, TheHighestScoreMergesFirstTheLeftmostAmongEquals) {
  GgufVocabulary v = sentencepiece();
  const int32_t a = add(v, "a", -9), b = add(v, "b", -9), ab = add(v, "ab", -2), ba = add(v, "ba", -1);
  const int32_t aa = add(v, "aa", -2);
  v.add_space_prefix = false;
  v.add_bos_token = false;
  const Tokenizer tokenizer = Tokenizer::from_gguf(v, "t.gguf");
  EXPECT_EQ(tokenizer.encode("aba", true), (Ids{a, ba}));
  EXPECT_EQ(tokenizer.encode("aab", true), (Ids{aa, b}));
  EXPECT_EQ(tokenizer.encode("bab", true), (Ids{ba, b}));
  EXPECT_EQ(tokenizer.encode("ab", true), (Ids{ab}));
}

// llama.cpp merges any two neighbours that are a token together, though one of them alone is none.
TEST(GgufVocabulary, ACharacterWithoutATokenMayStillMerge) {
  GgufVocabulary v = sentencepiece();
  const int32_t a = add(v, "a", -9), pair = add(v, "a\u00E9", -2);
  v.add_space_prefix = false;
  const Tokenizer tokenizer = Tokenizer::from_gguf(v, "t.gguf");
  EXPECT_EQ(tokenizer.encode("a\u00E9", true), (Ids{1, pair}));
  EXPECT_EQ(tokenizer.encode("\u00E9a", true), (Ids{1, 3 + 0xC3, 3 + 0xA9, a}));
}

TEST(GgufVocabulary, SpacesAndSpecialTokensAsLlamaCpp) {
  GgufVocabulary v = sentencepiece();
  const int32_t space = add(v, "\u2581", -5), a = add(v, "a", -9), space_a = add(v, "\u2581a", -1);
  v.chat_template = "{{ bos_token }}";
  const Tokenizer tokenizer = Tokenizer::from_gguf(v, "t.gguf");
  EXPECT_EQ(tokenizer.encode("", true), (Ids{1}));
  EXPECT_EQ(tokenizer.encode("a a", true), (Ids{1, space_a, space_a}));
  EXPECT_EQ(tokenizer.encode(" a</s>a", false), (Ids{space, space_a, 2, space_a})) << "a space behind a special token";
  EXPECT_EQ(tokenizer.decode(Ids{1, space_a, space_a, 2}, true), "a a");
  EXPECT_EQ(tokenizer.decode(Ids{1, space_a}, false), "<s> a");
  EXPECT_EQ(tokenizer.decode(Ids{3 + 0xE2, 3 + 0x82, a, 3 + 0xC3, 3 + 0xA9}, true), "\uFFFDa\u00E9");
  EXPECT_EQ(tokenizer.token_bytes(space_a), " a");
  EXPECT_EQ(tokenizer.bos_token(), "<s>");
  EXPECT_EQ(tokenizer.eos_token(), "</s>");
  EXPECT_EQ(tokenizer.chat_template(), "{{ bos_token }}");
}

void expect_refused(const GgufVocabulary& v, Errc code, const std::string& message) {
  try {
    Tokenizer::from_gguf(v, "m.gguf");
    ADD_FAILURE() << "accepted, wanted: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_TRUE(std::string(e.what()).starts_with("m.gguf: " + message)) << e.what();
  }
}

TEST(GgufVocabulary, RefusesWhatContradictsItself) {
  const auto changed = [](auto change) {
    GgufVocabulary v = sentencepiece();
    change(v);
    return v;
  };
  expect_refused(changed([](auto& v) { v.model = "bert"; }), Errc::kUnsupported,
                 "tokenizer.ggml.model: 'bert' is not supported (gpt2 and llama are)");
  expect_refused(changed([](auto& v) { v.tokens.clear(); }), Errc::kBadFile, "tokenizer.ggml.tokens: wanted 1 to");
  expect_refused(changed([](auto& v) { v.token_type.pop_back(); }), Errc::kBadFile,
                 "tokenizer.ggml.token_type: wanted 259, one for each token, got 258");
  expect_refused(changed([](auto& v) { v.scores.clear(); }), Errc::kBadFile,
                 "tokenizer.ggml.scores: wanted 259, one for each token, got 0");
  expect_refused(changed([](auto& v) { v.scores[7] = std::numeric_limits<float>::quiet_NaN(); }), Errc::kBadFile,
                 "tokenizer.ggml.scores: wanted finite numbers");
  expect_refused(changed([](auto& v) { v.tokens[9] = "<s>"; }), Errc::kBadFile,
                 "tokenizer.ggml.tokens: wanted each token once, got '<s>' as 1 and as 9");
  expect_refused(changed([](auto& v) { v.tokens[9] = "\xFF"; }), Errc::kBadFile,
                 "tokenizer.ggml.tokens: wanted UTF-8, token 9 is not");
  expect_refused(changed([](auto& v) { v.tokens[9] = "x"; }), Errc::kBadFile,
                 "tokenizer.ggml.tokens: wanted a token '<0x06>', got none");
  expect_refused(changed([](auto& v) { v.bos_token_id = 259; }), Errc::kBadFile,
                 "tokenizer.ggml.bos_token_id: wanted an id below 259, got 259");
  GgufVocabulary bytes = vocabulary_of(source_dir() / "models/demo/tokenizer.json", "clever");
  expect_refused(bytes, Errc::kUnsupported, "tokenizer.ggml.pre: 'clever' is not supported (chatglm-bpe, ");
  bytes.pre = "llama-bpe";
  expect_refused(bytes, Errc::kBadFile, "tokenizer.ggml.bos_token_id: wanted, as it is to be added");
  bytes.pre = "qwen2";
  bytes.merges[3] = "one";
  expect_refused(bytes, Errc::kBadFile, "tokenizer.ggml.merges: wanted 'left right', got another at 3");
  bytes.merges[3] = "q zq";
  expect_refused(bytes, Errc::kBadFile, "merges[3] ('q', 'zq'): wanted");
}

}  // namespace
}  // namespace trimeter
