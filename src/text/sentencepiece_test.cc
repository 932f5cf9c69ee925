// Against sentencepiece and Hugging Face's tokenizers, token for token (tests/golden/make_sentencepiece_golden.py).
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "text/gguf_vocabulary.h"
#include "text/golden_files.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

Json golden(const std::string& name) { return Json::parse(file_text(source_dir() / "tests/golden/text" / name)); }

Tokenizer tokenizer_of(Json file, const Json& variant) {
  for (const auto& [pointer, value] : variant["patch"].items()) file[Json::json_pointer(pointer)] = value;
  return Tokenizer::parse(file.dump(), "", variant["name"]);
}

// What a stream that begins in the middle of a text shows.
std::string streamed(const Tokenizer& tokenizer, const Ids& ids) {
  Utf8Stream stream;
  std::string text;
  for (const int32_t id : ids) {
    const std::string shown = stream.push(tokenizer.token_bytes(id));
    EXPECT_TRUE(is_utf8(shown)) << testing::PrintToString(shown);
    text += shown;
  }
  return text + stream.finish();
}

std::string bytes_of(const Tokenizer& tokenizer, const Ids& ids) {
  std::string bytes;
  for (const int32_t id : ids) bytes += tokenizer.token_bytes(id);
  return bytes;
}

// The stream is the decoded text with the spaces that a text's beginning loses; wrong bytes apart, of which decode
// makes one U+FFFD each.
void expect_stream(const Tokenizer& tokenizer, const Ids& ids, const std::string& decoded) {
  if (!is_utf8(bytes_of(tokenizer, ids))) return;
  const std::string shown = streamed(tokenizer, ids);
  ASSERT_TRUE(shown.ends_with(decoded)) << shown << " / " << decoded;
  const size_t n_lost = shown.size() - decoded.size();
  EXPECT_EQ(shown.substr(0, n_lost), std::string(n_lost, ' ')) << shown;
}

class SentencePiece : public testing::TestWithParam<const char*> {};

TEST_P(SentencePiece, EncodesAndDecodesAsHuggingFace) {
  const Json texts = golden("sentencepiece_texts.json")["texts"];
  const Json file = golden(GetParam());
  ASSERT_GT(texts.size(), 180u);
  for (const Json& variant : file["variants"]) {
    SCOPED_TRACE(variant["name"].get<std::string>());
    const Tokenizer tokenizer = tokenizer_of(file["base"], variant);
    ASSERT_EQ(variant["encode"].size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const auto text = texts[i].get<std::string>();
      SCOPED_TRACE(testing::PrintToString(text));
      const Json& c = variant["encode"][i];
      const Ids ids = c[0].get<Ids>();
      EXPECT_EQ(tokenizer.encode(text, false), ids);
      Ids around = variant["before"].get<Ids>();
      const Ids after = variant["after"].get<Ids>();
      around.insert(around.end(), ids.begin(), ids.end());
      around.insert(around.end(), after.begin(), after.end());
      EXPECT_EQ(tokenizer.encode(text, true), around);
      const std::string decoded = c.size() > 1 ? c[1].get<std::string>() : text;
      EXPECT_EQ(tokenizer.decode(ids, false), decoded);
      expect_stream(tokenizer, ids, decoded);
    }
    for (const Json& c : variant["decode"]) {
      const Ids ids = c[0].get<Ids>();
      EXPECT_EQ(tokenizer.decode(ids, false), c[1].get<std::string>()) << c[0];
      EXPECT_EQ(tokenizer.decode(ids, true), c[2].get<std::string>()) << c[0];
      expect_stream(tokenizer, ids, c[1].get<std::string>());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SentencePiece, testing::Values("sentencepiece_bpe.json", "sentencepiece_unigram.json"),
                         [](const auto& param) {
                           return std::string(param.param).find("bpe") != std::string::npos ? "Bpe" : "Unigram";
                         });

TEST(SentencePieceInGguf, EncodesAsSentencePiece) {
  const Json file = golden("sentencepiece_gguf.json");
  GgufVocabulary v;
  v.model = "llama";
  v.tokens = file["tokens"].get<std::vector<std::string>>();
  v.scores = file["scores"].get<std::vector<float>>();
  v.token_type = file["token_type"].get<std::vector<int32_t>>();
  const Tokenizer tokenizer = Tokenizer::from_gguf(v, "t.gguf");
  ASSERT_GT(file["encode"].size(), 170u);
  for (const Json& c : file["encode"]) {
    const auto text = c[0].get<std::string>();
    EXPECT_EQ(tokenizer.encode(text, true), c[1].get<Ids>()) << testing::PrintToString(text);
    std::string decoded = text;
    replace_all(decoded, "\u2581", " ");  // as which it comes back
    EXPECT_EQ(tokenizer.decode(c[1].get<Ids>(), true), decoded);
  }
}

}  // namespace
}  // namespace trimeter
