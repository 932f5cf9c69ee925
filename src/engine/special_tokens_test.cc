#include "engine/special_tokens.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace trimeter {
namespace {

constexpr const char* kTokenizer = R"({"normalizer": null, "post_processor": null, "decoder": {"type": "ByteLevel"},
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
  "added_tokens": [{"id": 300, "content": "<|begin|>", "special": true}, {"id": 301, "content": "<|end|>", "special": true},
                   {"id": 302, "content": "<|turn|>", "special": true}],
  "model": {"type": "BPE", "merges": [], "vocab": )";

// All 256 bytes, whose alphabet begins at '!', and three special tokens.
Tokenizer tokenizer() {
  std::string vocab;
  int id = 0;
  const auto add = [&](int first, int last) {
    for (int code = first; code <= last; ++code)
      vocab += fmt::format("{}\"\\u{:04x}\": {}", vocab.empty() ? "" : ", ", code, id++);
  };
  add(0x21, 0x7e), add(0xa1, 0xac), add(0xae, 0xff), add(0x100, 0x143);
  return Tokenizer::parse(kTokenizer + ("{" + vocab + "}}}"), "", "m/tokenizer.json");
}

HfConfig config() {
  HfConfig config;
  config.path = "m/config.json";
  config.vocab_size = 320;  // padded: the tokenizer ends at 302
  config.bos_token_id = 300;
  config.eos_token_ids = {301};
  return config;
}

std::string refusal(const HfConfig& config, const HfGenerationConfig& generation) {
  try {
    end_tokens(config, generation, tokenizer());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Errc::kBadFile);
    return error.what();
  }
  return "";
}

TEST(SpecialTokens, EndsOfBothFilesEachOnce) {
  HfGenerationConfig generation;
  generation.eos_token_ids = {302, 301};
  EXPECT_EQ(end_tokens(config(), generation, tokenizer()), (std::vector<int32_t>{301, 302}));
  EXPECT_EQ(end_tokens(config(), {}, tokenizer()), std::vector<int32_t>{301});
}

TEST(SpecialTokens, RefusesWhatIsNoToken) {
  HfConfig bad = config();
  bad.eos_token_ids = {301, 320};
  EXPECT_EQ(refusal(bad, {}),
            "m/config.json: field 'eos_token_id': wanted an id below the model's vocab_size 320, got 320");
  bad = config();
  bad.bos_token_id = 310;
  EXPECT_EQ(
      refusal(bad, {}),
      "m/config.json: field 'bos_token_id': wanted the id of a token, got 310, which tokenizer.json has none for");
  HfGenerationConfig generation;
  generation.path = "m/generation_config.json";
  generation.eos_token_ids = {301, 256};
  EXPECT_EQ(
      refusal(config(), generation),
      "m/generation_config.json: field 'eos_token_id': wanted the id of a token, got 256, which tokenizer.json has "
      "none for");
  generation.eos_token_ids.clear();
  generation.bos_token_id = 1 << 30;
  EXPECT_NE(refusal(config(), generation).find("generation_config.json: field 'bos_token_id'"), std::string::npos);
}

}  // namespace
}  // namespace trimeter
