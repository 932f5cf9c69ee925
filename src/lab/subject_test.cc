#include "lab/subject.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"
#include "io/file.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

std::filesystem::path demo() {
  const char* root = std::getenv("TRIMETER_SOURCE_DIR");
  return std::filesystem::path(root ? root : ".") / "models" / "demo";
}

TEST(Subject, ReadsTheDemoModel) {
  const Subject subject = read_subject(demo());
  EXPECT_EQ(subject.spec.architecture, "Qwen2ForCausalLM");
  EXPECT_EQ(subject.tokenizer.decode(subject.encode_text("Once upon a time"), false), "Once upon a time");
  EXPECT_EQ(subject.tokenizer.decode(subject.encode_chat({{"system", "Be brief."}, {"user", "Hello"}}), false),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Subject, WantsADirectory) {
  for (const auto& [path, found] :
       {std::pair(demo() / "nowhere", "nothing"), std::pair(demo() / "config.json", "a file")}) {
    try {
      read_subject(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kNotFound);
      EXPECT_EQ(error.what(), path.string() + ": wanted the directory of a Hugging Face checkpoint, found " + found);
    }
  }
}

// tokenizer.json with one added token renamed.
Subject demo_without(const TemporaryDirectory& directory, const std::string& token, const std::string& chat_template) {
  for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"})
    std::filesystem::copy(demo() / name, directory.path());
  if (!chat_template.empty()) directory.write("chat_template.jinja", chat_template);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    std::string text = read_file(directory.path() / name);
    const std::string quoted = "\"content\": \"" + token + "\"", renamed = "\"content\": \"<|other|>\"";
    for (size_t at = text.find(quoted); at != text.npos; at = text.find(quoted))
      text.replace(at, quoted.size(), renamed);
    directory.write(name, text);
  }
  return read_subject(directory.path());
}

TEST(Subject, AChatNeedsItsTokens) {
  const auto message = [](const std::string& token, const std::string& chat_template) -> std::string {
    const TemporaryDirectory directory;
    const Subject subject = demo_without(directory, token, chat_template);
    try {
      subject.encode_chat({{"user", "Hello <|nobody|>"}});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Errc::kBadFile);
      EXPECT_EQ(std::string(error.what()).find(directory.path().string()), 0u);
      return std::string(error.what()).substr(directory.path().string().size());
    }
    return "";
  };
  EXPECT_EQ(
      message("<|im_start|>", ""),
      "/tokenizer_config.json: chat template: wanted '<|im_start|>' as a token in tokenizer.json, as '<|im_end|>' "
      "is, got none");
  EXPECT_EQ(message("", ""), "");
  EXPECT_EQ(message("<|im_start|>", "<|user|>{{ messages[0].content }}{{ eos_token }}<|assistant|>"), "")
      << "markers that are all text";
  EXPECT_EQ(message("", "{% if %}"), "/chat_template.jinja: chat template, line 1: wanted an expression, got '%}'");
}

TEST(DefaultSampling, GreedyUnlessTheModelSamples) {
  HfGenerationConfig config;
  EXPECT_EQ(default_sampling(config).temperature, 0);
  config.do_sample = false;
  config.temperature = 0.7;
  config.top_p = 0.8;
  config.repetition_penalty = 1.1;
  EXPECT_EQ(default_sampling(config).temperature, 0);
  EXPECT_EQ(default_sampling(config).repetition_penalty, 1.1);  // greedy decoding has it, too
  config.do_sample.reset();
  EXPECT_EQ(default_sampling(config).temperature, 0.7);
  config.do_sample = true;
  config.temperature.reset();
  config.top_k = 20;
  config.min_p = 0.05;
  const SamplingParams params = default_sampling(config);
  EXPECT_EQ(params.temperature, 1);
  EXPECT_EQ(params.top_k, 20);
  EXPECT_EQ(params.top_p, 0.8);
  EXPECT_EQ(params.min_p, 0.05);
}

}  // namespace
}  // namespace trimeter
