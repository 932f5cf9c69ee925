#include "lab/evaluation_set.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>

#include "base/error.h"
#include "io/temporary_directory.h"

namespace trimeter {
namespace {

namespace fs = std::filesystem;

fs::path source_data() {
  const char* root = std::getenv("TRIMETER_SOURCE_DIR");
  return fs::path(root ? root : ".") / "data";
}

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

class DamagedSet : public ::testing::Test {
 protected:
  DamagedSet() { fs::copy(source_data(), directory_.path(), fs::copy_options::recursive); }
  std::string error_with(const char* file, const std::string& content) {
    std::ofstream(directory_.path() / file) << content;
    std::string message = error_of([&] { read_evaluation_set(directory_.path()); });
    const std::string root = directory_.path().string() + "/";
    for (size_t at; (at = message.find(root)) != std::string::npos;) message.erase(at, root.size());
    return message;
  }
  TemporaryDirectory directory_;
};

TEST(EvaluationSet, OursIsWhole) {
  const EvaluationSet set = read_evaluation_set(source_data());
  EXPECT_GE(set.prompts.size(), 48u);
  EXPECT_GE(set.passages.size(), 40u);
  EXPECT_FALSE(set.calibration.empty());
}

TEST(EvaluationSet, PromptsTakeTurnsOverCategories) {
  EvaluationSet set;
  for (const char* id : {"a1", "a2", "a3", "b1", "c1", "c2"})
    set.prompts.push_back({id, std::string(1, id[0]), "text", false});
  std::string order;
  for (const EvaluationPrompt& prompt : interleaved_prompts(set, 6)) order += prompt.id + " ";
  EXPECT_EQ(order, "a1 b1 c1 a2 c2 a3 ");
  EXPECT_EQ(interleaved_prompts(set, 2)[1].id, "b1");
  EXPECT_EQ(error_of([&] { interleaved_prompts(set, 7); }),
            "prompts: wanted 1 to 6 (the evaluation set has no more), got 7");
  EXPECT_EQ(error_of([&] { interleaved_prompts(set, 0); }),
            "prompts: wanted 1 to 6 (the evaluation set has no more), got 0");
}

TEST_F(DamagedSet, ErrorsNameFileLineAndField) {
  EXPECT_EQ(error_with("eval/prompts.jsonl", "{\"id\": \"x\", \"category\": \"c\", \"prompt\": \"p\"}\n"),
            "eval/prompts.jsonl:1: 'chat' is missing");
  EXPECT_EQ(error_with("eval/prompts.jsonl", "{\"id\": \"x\", \"category\": \"c\", \"prompt\": \"p\", \"chat\": 1}\n"),
            "eval/prompts.jsonl:1: 'chat': wanted a boolean, got 1");
  EXPECT_EQ(error_with("eval/prompts.jsonl", ""), "eval/prompts.jsonl: empty: wanted one JSON object a line");
  EXPECT_EQ(error_with("eval/prompts.jsonl", "[]\n"), "eval/prompts.jsonl:1: wanted an object, got array");
  EXPECT_EQ(error_with("eval/prompts.jsonl", "{\"id\"\n").substr(0, 21), "eval/prompts.jsonl:1:");
}

TEST_F(DamagedSet, AnIdIsThereOnce) {
  const std::string line = "{\"id\": \"x\", \"category\": \"c\", \"text\": \"t\"}\n";
  EXPECT_EQ(error_with("eval/passages.jsonl", line + line), "eval/passages.jsonl:2: id 'x' is there twice");
}

TEST_F(DamagedSet, AMissingFileIsNamed) {
  fs::remove(directory_.path() / "calibration/calibration.jsonl");
  EXPECT_NE(error_of([&] { read_evaluation_set(directory_.path()); }).find("calibration.jsonl"), std::string::npos);
}

TEST(DataDirectory, TheGivenOneOrNone) {
  const TemporaryDirectory empty;
  EXPECT_EQ(find_data_directory(source_data().string()), source_data());
  EXPECT_EQ(error_of([&] { find_data_directory(empty.path().string()); }),
            "evaluation data: no directory " + (empty.path() / "eval").string() + " (--eval-data)");
  ::setenv("TRIMETER_DATA", empty.path().c_str(), 1);
  EXPECT_NE(error_of([] { find_data_directory(""); }).find("(TRIMETER_DATA)"), std::string::npos);
  EXPECT_EQ(find_data_directory(source_data().string()), source_data());  // the option goes before the environment
  ::unsetenv("TRIMETER_DATA");
  EXPECT_TRUE(fs::is_directory(find_data_directory("") / "eval"));
}

}  // namespace
}  // namespace trimeter
