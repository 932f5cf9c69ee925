// Against Hugging Face's tokenizers, token for token (tests/golden/make_text_golden.py).
#include "text/tokenizer.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "io/temporary_directory.h"
#include "text/golden_files.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

std::filesystem::path golden() { return source_dir() / "tests/golden/text"; }
Json golden_json(const std::string& name) { return Json::parse(file_text(golden() / name)); }
std::filesystem::path directory_of(const std::string& name) {
  return name == "demo" ? source_dir() / "models/demo" : golden() / name;
}

class TokenizerGolden : public testing::TestWithParam<const char*> {
 protected:
  const Tokenizer tokenizer_ = Tokenizer::open(directory_of(GetParam()));
  const Json golden_ = golden_json(fmt::format("tokenizer_{}.json", GetParam()));
};

TEST_P(TokenizerGolden, EncodesAsHuggingFace) {
  ASSERT_GT(golden_["encode"].size(), 300u);
  for (const Json& c : golden_["encode"]) {
    const auto text = c["text"].get<std::string>();
    Ids want = c["ids"].get<Ids>();
    EXPECT_EQ(tokenizer_.encode(text, false), want) << testing::PrintToString(text.substr(0, 80));
    const Ids before = c["special_tokens_before"].get<Ids>();
    want.insert(want.begin(), before.begin(), before.end());
    EXPECT_EQ(tokenizer_.encode(text, true), want) << testing::PrintToString(text.substr(0, 80));
  }
}

TEST_P(TokenizerGolden, DecodesAsHuggingFace) {
  for (const Json& c : golden_["encode"]) {
    const Ids ids = c["ids"].get<Ids>();
    EXPECT_EQ(tokenizer_.decode(ids, false), c.value("decoded", c["text"].get<std::string>()));
    EXPECT_EQ(tokenizer_.decode(ids, true), c.value("decoded_skipping", c["text"].get<std::string>()));
  }
  for (const Json& c : golden_["decode"])
    EXPECT_EQ(tokenizer_.decode(c["ids"].get<Ids>(), false), c["decoded"].get<std::string>()) << c["ids"];
}

// What a client sees of a stream is what the whole decodes to, and at no moment half a character.
TEST_P(TokenizerGolden, StreamsWhatDecodeGives) {
  for (const Json& c : golden_["decode"]) {
    const Ids ids = c["ids"].get<Ids>();
    Utf8Stream stream;
    std::string streamed;
    for (const int32_t id : ids) {
      const std::string shown = stream.push(tokenizer_.token_bytes(id));
      EXPECT_NO_THROW(tokenizer_.encode(shown, false));  // refuses what is not UTF-8
      streamed += shown;
    }
    EXPECT_EQ(streamed + stream.finish(), tokenizer_.decode(ids, false));
  }
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerGolden, testing::Values("demo", "tiny_llama3", "tiny_qwen2", "tiny_gpt2"),
                         [](const auto& param) { return std::string(param.param); });

TEST(Utf8Stream, ReplacesAsPython) {
  const Json golden_utf8 = golden_json("utf8.json");
  ASSERT_GT(golden_utf8["cases"].size(), 400u);
  for (const Json& c : golden_utf8["cases"]) {
    const auto bytes = c["bytes"].get<std::vector<uint8_t>>();
    const std::string text(bytes.begin(), bytes.end());
    for (const size_t step : {1u, 2u, 3u, 64u}) {
      Utf8Stream stream;
      std::string got;
      for (size_t i = 0; i < text.size(); i += step) got += stream.push(std::string_view(text).substr(i, step));
      EXPECT_EQ(got + stream.finish(), c["decoded"].get<std::string>()) << c["bytes"] << " by " << step;
    }
  }
}

TEST(Utf8Stream, HoldsBackHalfACharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("a\xE2\x82"), "a");
  EXPECT_EQ(stream.push("\xAC"), "\xE2\x82\xAC");
  EXPECT_EQ(stream.push("\xF0\x9F"), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Tokenizer, KnowsItsTokens) {
  const Tokenizer demo = Tokenizer::open(directory_of("demo"));
  EXPECT_EQ(demo.vocab_size(), 4096);
  EXPECT_EQ(demo.token_id("<|im_end|>"), 4095);
  EXPECT_EQ(demo.token_id("no such token"), std::nullopt);
  EXPECT_EQ(demo.token_bytes(4095), "<|im_end|>");
  EXPECT_EQ(demo.token_bytes(*demo.token_id("\xC4\xA0t")), " t");
  EXPECT_TRUE(demo.is_special(4095));
  EXPECT_FALSE(demo.is_special(0));
  EXPECT_EQ(demo.bos_token(), "");
  EXPECT_EQ(demo.eos_token(), "<|im_end|>");
  EXPECT_EQ(demo.token_bytes(4096), "");  // a padding row of the embedding
  EXPECT_FALSE(demo.is_special(4096));
  EXPECT_THROW(demo.token_bytes(-1), Error);
}

TEST(Tokenizer, ReadsConfigForms) {
  const Tokenizer llama = Tokenizer::open(directory_of("tiny_llama3"));
  EXPECT_EQ(llama.bos_token(), "<|begin_of_text|>");
  EXPECT_EQ(llama.eos_token(), "<|eot_id|>");  // an AddedToken object
  EXPECT_NE(llama.chat_template().find("start_header_id"), std::string::npos);
  const Tokenizer qwen = Tokenizer::open(directory_of("tiny_qwen2"));
  EXPECT_NE(qwen.chat_template().find("You are Qwen"), std::string::npos);  // a list of named templates
  const std::string json = file_text(golden() / "tiny_qwen2/tokenizer.json");
  const Tokenizer more = Tokenizer::parse(
      json, R"({"added_tokens_decoder": {"700": {"content": "<new>", "special": true}}, "eos_token": "<new>"})", "t");
  EXPECT_EQ(more.encode("a<new>", false).back(), 700);
  EXPECT_EQ(more.vocab_size(), 701);
  EXPECT_EQ(more.token_bytes(650), "");
}

TEST(Tokenizer, TemplateFileGoesBeforeConfig) {
  const TemporaryDirectory directory;
  directory.write("tokenizer.json", file_text(golden() / "tiny_qwen2/tokenizer.json"));
  directory.write("tokenizer_config.json", file_text(golden() / "tiny_qwen2/tokenizer_config.json"));
  directory.write("chat_template.jinja", "{{ 'file' }}");
  EXPECT_EQ(Tokenizer::open(directory.path()).chat_template(), "{{ 'file' }}");
}

// Merging is O(n log n): a word of a million letters is no different from many short ones. Quadratic work would need
// hours here, and the test would run into its time limit.
TEST(Tokenizer, EncodesAMillionLetterWord) {
  const Tokenizer demo = Tokenizer::open(directory_of("demo"));
  std::mt19937 random(5);
  std::string word;
  for (int i = 0; i < 1'000'000; ++i) word += static_cast<char>('a' + random() % 26);
  EXPECT_EQ(demo.decode(demo.encode(word, false), false), word);
}

// What tests/fuzz/fuzz_tokenizer.cc starts from and what it has found: seeds parse, findings (crash-*) do as they like.
TEST(Tokenizer, HandlesTheFuzzCorpus) {
  int n_parsed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(source_dir() / "tests/fuzz/corpus/tokenizer")) {
    try {
      const Tokenizer tokenizer = Tokenizer::parse(file_text(entry.path()), "", entry.path().string());
      ++n_parsed;
      const Ids ids = tokenizer.encode("It's the  <|im_end|>\n caf\u00e9", true);
      EXPECT_FALSE(ids.empty()) << entry.path();
      tokenizer.decode(ids, true);
    } catch (const Error& e) {
      EXPECT_TRUE(entry.path().filename().string().starts_with("crash-")) << e.what();
    }
  }
  EXPECT_GE(n_parsed, 7);
}

TEST(Tokenizer, RefusesTextThatIsNotUtf8) {
  const Tokenizer demo = Tokenizer::open(directory_of("demo"));
  try {
    demo.encode("caf\xE9!", false);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Errc::kBadArgument);
    EXPECT_STREQ(e.what(), "text is not UTF-8: byte 0xe9 at offset 3");
  }
}

}  // namespace
}  // namespace trimeter
