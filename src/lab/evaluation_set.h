// The project's own evaluation and calibration text (data/README.md), and where a binary finds it.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace trimeter {

struct EvaluationPrompt {
  std::string id, category, prompt;
  bool chat = false;  // put through the chat template, or continued as it is
};

struct EvaluationText {
  std::string id, category, text;
};

struct EvaluationSet {
  std::vector<EvaluationPrompt> prompts;
  std::vector<EvaluationText> passages;
  std::vector<std::string> calibration;
};

// The first of these that is given: `wanted`, the environment's TRIMETER_DATA; else the first that exists of
// <directory of the program>/../data and the data/ of the source tree it was built from. Throws Error(kNotFound) that
// says where it looked.
std::filesystem::path find_data_directory(const std::string& wanted);

// eval/prompts.jsonl, eval/passages.jsonl, calibration/calibration.jsonl. Throws Error with file, line and field.
EvaluationSet read_evaluation_set(const std::filesystem::path& directory);

// Of calibration/calibration.jsonl alone.
std::vector<std::string> read_calibration_texts(const std::filesystem::path& directory);

// Any file of texts: JSON lines with a "text" (*.jsonl), else plain text, whose paragraphs empty lines part. Throws
// Error(kBadFile) if there is none in it.
std::vector<std::string> read_texts_of(const std::filesystem::path& path);

// The first `n` prompts taken in turn from each category, categories in the file's order: a short workload has all
// kinds. Throws Error(kBadArgument) if there are fewer.
std::vector<EvaluationPrompt> interleaved_prompts(const EvaluationSet& set, size_t n);

}  // namespace trimeter
