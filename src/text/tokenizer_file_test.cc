// Each way a tokenizer.json can be wrong or beyond us, with the words it is refused in.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "text/golden_files.h"
#include "text/tokenizer.h"

namespace trimeter {
namespace {

using Json = nlohmann::json;

struct Refusal {
  const char* name;
  const char* pointer;  // what to replace in tiny_llama3's tokenizer.json
  const char* value;    // with what (JSON)
  Errc code;
  const char* message;  // a part of what is said
};

const Refusal kRefusals[] = {
    {"Model", "/model/type", R"("WordPiece")", Errc::kUnsupported,
     "model.type: model 'WordPiece' (BPE and Unigram are) is not supported"},
    {"UnigramOfBytes", "/model/type", R"("Unigram")", Errc::kUnsupported,
     "model 'Unigram' with the pre-tokenizer ByteLevel"},
    {"Normalizer", "/normalizer", R"({"type": "Lowercase"})", Errc::kUnsupported, "normalizer: normalizer 'Lowercase'"},
    {"NestedNormalizer", "/normalizer", R"({"type": "Sequence", "normalizers": [{"type": "BertNormalizer"}]})",
     Errc::kUnsupported, "normalizer.normalizers[0]: normalizer 'BertNormalizer'"},
    {"PreTokenizer", "/pre_tokenizer", R"({"type": "Punctuation"})", Errc::kUnsupported, "pre-tokenizer 'Punctuation'"},
    {"NoByteLevel", "/pre_tokenizer", "null", Errc::kUnsupported, "'ByteLevel' without the pre-tokenizer ByteLevel"},
    {"SplitBehindByteLevel", "/pre_tokenizer/pretokenizers/0", R"({"type": "ByteLevel"})", Errc::kUnsupported,
     "'ByteLevel' behind ByteLevel"},
    {"BadRegex", "/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("(a")", Errc::kBadFile,
     "wanted a regular expression, got '(a'"},
    {"EmptyRegex", "/pre_tokenizer/pretokenizers/0/pattern/Regex", R"("")", Errc::kBadFile,
     "a pattern that is not empty"},
    {"Behavior", "/pre_tokenizer/pretokenizers/0/behavior", R"("Sideways")", Errc::kBadFile, "got \"Sideways\""},
    {"Decoder", "/decoder", R"({"type": "Metaspace"})", Errc::kUnsupported, "decoder 'Metaspace' with the pre"},
    {"PostProcessor", "/post_processor", R"({"type": "RobertaProcessing"})", Errc::kUnsupported,
     "post-processor 'RobertaProcessing'"},
    {"TemplateToken", "/post_processor/processors/1/single/0/SpecialToken/id", R"("<s>")", Errc::kBadFile,
     "single[0].SpecialToken.id: wanted a token that special_tokens describes, got \"<s>\""},
    {"TemplateId", "/post_processor/processors/1/special_tokens/<|begin_of_text|>/ids/0", "7", Errc::kBadFile,
     "ids[0]: wanted 601, the id of '<|begin_of_text|>', got 7"},
    {"TemplateUnknownToken", "/post_processor/processors/1/special_tokens/<|begin_of_text|>/tokens/0", R"("<s>")",
     Errc::kBadFile, "wanted the id of a token in the vocabulary"},
    {"TemplateWithoutText", "/post_processor/processors/1/single", "[]", Errc::kBadFile, "wanted the text once"},
    {"MergeProduct", "/model/merges/0", R"(["!", "\""])", Errc::kBadFile,
     "merges[0] ('!', '\"'): wanted '!\"' in the vocabulary, got no such token"},
    {"MergePart", "/model/merges/0", R"("zq x")", Errc::kBadFile, "wanted 'zq' in the vocabulary"},
    {"MergeForm", "/model/merges/0", R"("abc")", Errc::kBadFile,
     "model.merges[0]: wanted a pair of tokens, got \"abc\""},
    {"MergeOfThree", "/model/merges/0", R"("a b c")", Errc::kBadFile, "wanted a pair of tokens"},
    {"VocabId", "/model/vocab/!", "-1", Errc::kBadFile, "model.vocab.!: wanted a token id from 0"},
    {"HugeId", "/model/vocab/!", "4194304", Errc::kBadFile, "wanted a token id from 0 to 4194303, got 4194304"},
    {"OneIdForTwo", "/model/vocab/#", "0", Errc::kBadFile,
     "model.vocab: wanted an id of its own for each token, got 0 for '!' and '#'"},
    {"VocabIsList", "/model/vocab", "[]", Errc::kBadFile, "model.vocab: wanted an object, got []"},
    {"MissingByte", "/model/vocab", R"({"a": 0})", Errc::kBadFile,
     "vocabulary: wanted a token '\xC4\x80' for byte 0x00, got none"},
    {"Dropout", "/model/dropout", "0.1", Errc::kUnsupported, "model.dropout: dropout"},
    {"Affix", "/model/end_of_word_suffix", R"("</w>")", Errc::kUnsupported,
     "model.end_of_word_suffix: '</w>' on tokens"},
    {"AddedIdTaken", "/added_tokens/0/id", "3", Errc::kBadFile, "added_tokens[0]: wanted an id other than 3"},
    {"AddedContent", "/added_tokens/0/content", R"("!")", Errc::kBadFile, "added_tokens[0]: wanted id 0 for '!'"},
    {"AddedFlag", "/added_tokens/0/special", "1", Errc::kBadFile,
     "added_tokens[0].special: wanted true or false, got 1"},
};

Json tiny() { return Json::parse(file_text(source_dir() / "tests/golden/text/tiny_llama3/tokenizer.json")); }

void expect_error(const std::string& json, const std::string& config, Errc code, const std::string& message) {
  try {
    Tokenizer::parse(json, config, "dir/tokenizer.json");
    ADD_FAILURE() << "accepted, wanted: " << message;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find(message), std::string::npos) << e.what();
    EXPECT_TRUE(std::string(e.what()).starts_with("dir/tokenizer")) << e.what();
  }
}

class TokenizerRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(TokenizerRefuses, SayingWhere) {
  const Refusal& refusal = GetParam();
  Json json = tiny();
  json[Json::json_pointer(refusal.pointer)] = Json::parse(refusal.value);
  expect_error(json.dump(), "", refusal.code, refusal.message);
}

// In the structure of Llama 2 (tests/fuzz/corpus/tokenizer).
const Refusal kSentencePieceRefusals[] = {
    {"Charsmap", "/normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "CAAAAAEC"})", Errc::kBadFile,
     "normalizer: precompiled_charsmap: wanted a trie and its length, got 8 of 6 bytes"},
    {"Base64", "/normalizer", R"({"type": "Precompiled", "precompiled_charsmap": "CA*A"})", Errc::kBadFile,
     "precompiled_charsmap: wanted base64"},
    {"Scheme", "/pre_tokenizer", R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"})",
     Errc::kBadFile, "prepend_scheme: wanted always, first or never"},
    {"Schemes", "/pre_tokenizer",
     R"({"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "add_prefix_space": false})",
     Errc::kBadFile, "prepend_scheme: wanted never, as add_prefix_space is false"},
    {"Replacement", "/pre_tokenizer", R"({"type": "Metaspace", "replacement": "__"})", Errc::kBadFile,
     "replacement: wanted one character"},
    {"BytesDecoder", "/decoder", R"({"type": "ByteLevel"})", Errc::kUnsupported,
     "decoder 'ByteLevel' without the pre-tokenizer ByteLevel"},
    {"Decoder", "/decoder/decoders/2", R"({"type": "CTC"})", Errc::kUnsupported, "decoders[2]: decoder 'CTC'"},
    {"DecoderOrder", "/decoder/decoders/2", R"({"type": "Replace"})", Errc::kUnsupported,
     "decoders[2]: decoder 'Replace' at this place of the sequence"},
    {"DecoderRegex", "/decoder/decoders/0/pattern", R"({"Regex": "a+"})", Errc::kUnsupported,
     "a decoder with a regular expression"},
    {"StripAlone", "/decoder", R"({"type": "Strip", "content": " ", "start": 1, "stop": 0})", Errc::kUnsupported,
     "decoder 'Strip' elsewhere than behind 'Fuse'"},
    {"StripEnd", "/decoder/decoders/3/stop", "1", Errc::kUnsupported, "stripping a text's end"},
    {"Unk", "/model/unk_token", R"("<what>")", Errc::kBadFile, "model.unk_token: wanted a token of model.vocab"},
    {"UnigramOfBpe", "/model/type", R"("Unigram")", Errc::kBadFile, "model.vocab: wanted an array"},
    {"UnigramTwice", "/model", R"({"type": "Unigram", "vocab": [["a", 0], ["a", 1]], "unk_id": 0})", Errc::kBadFile,
     "model.vocab[1]: wanted a token that is not there already"},
    {"UnigramScore", "/model", R"({"type": "Unigram", "vocab": [["a", null]], "unk_id": 0})", Errc::kBadFile,
     "model.vocab[0][1]: wanted a number"},
    {"UnigramUnk", "/model", R"({"type": "Unigram", "vocab": [["a", 0]], "unk_id": 1})", Errc::kBadFile,
     "model.unk_id: wanted a place in model.vocab from 0 to 0, got 1"},
    {"UnigramNoUnk", "/model", R"({"type": "Unigram", "vocab": [["a", 0]]})", Errc::kBadFile, "model.unk_id: wanted"},
};

class SentencePieceRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(SentencePieceRefuses, SayingWhere) {
  const Refusal& refusal = GetParam();
  Json json = Json::parse(file_text(source_dir() / "tests/fuzz/corpus/tokenizer/llama2.json"));
  json[Json::json_pointer(refusal.pointer)] = Json::parse(refusal.value);
  expect_error(json.dump(), "", refusal.code, refusal.message);
}

INSTANTIATE_TEST_SUITE_P(Field, SentencePieceRefuses, testing::ValuesIn(kSentencePieceRefusals),
                         [](const auto& param) { return std::string(param.param.name); });

INSTANTIATE_TEST_SUITE_P(Field, TokenizerRefuses, testing::ValuesIn(kRefusals),
                         [](const auto& param) { return std::string(param.param.name); });

TEST(TokenizerFile, RefusesConfigs) {
  const std::string json = tiny().dump();
  expect_error(json, "{", Errc::kBadFile, "tokenizer_config.json: not valid JSON");
  expect_error(json, R"({"eos_token": "<nope>"})", Errc::kBadFile,
               "tokenizer_config.json: eos_token: wanted a token of the vocabulary, got \"<nope>\"");
  expect_error(json, R"({"bos_token": 3})", Errc::kBadFile, "bos_token: wanted a string, got 3");
  expect_error(json, R"({"chat_template": [{"name": "rag", "template": ""}]})", Errc::kBadFile,
               "a template named 'default'");
  expect_error(json, R"({"added_tokens_decoder": {"x1": {"content": "y"}}})", Errc::kBadFile, "a token id as its key");
  expect_error(json, R"({"added_tokens_decoder": {"99999999999999999999": {"content": "y"}}})", Errc::kBadFile,
               "a token id as its key");
  expect_error(json, R"({"added_tokens_decoder": {"5": {"content": "<y>"}}})", Errc::kBadFile, "an id other than 5");
}

TEST(TokenizerFile, RefusesWhatIsNoTokenizer) {
  expect_error("", "", Errc::kBadFile, "not valid JSON");
  expect_error(tiny().dump().substr(0, 5000), "", Errc::kBadFile, "not valid JSON");
  expect_error("[]", "", Errc::kBadFile, "wanted an object");
  expect_error("{}", "", Errc::kUnsupported, "decoder 'null'");
  expect_error(std::string(100000, '['), "", Errc::kBadFile, "nesting: wanted at most");
}

}  // namespace
}  // namespace trimeter
