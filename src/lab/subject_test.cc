#include "lab/subject.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"

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
