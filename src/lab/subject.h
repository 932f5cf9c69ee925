// The model that a command works on: everything of a checkpoint directory but its weights.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "api/engine.h"
#include "io/hf_config.h"
#include "spec/model_spec.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace trimeter {

struct Subject {
  std::filesystem::path directory;
  ModelSpec spec;
  HfGenerationConfig generation;
  Tokenizer tokenizer;

  // As a text to be continued: with the special tokens that the tokenizer adds itself.
  std::vector<int32_t> encode_text(std::string_view text) const;
  // Through the chat template, up to where the assistant begins. Throws Error(kUnsupported) if the model has none,
  // Error(kBadFile) if the tokenizer lacks a token that it writes; each names the template's file.
  std::vector<int32_t> encode_chat(const std::vector<ChatMessage>& messages) const;
};

// Throws Error with file, field, wanted and got; kNotFound also if `directory` is none.
Subject read_subject(const std::filesystem::path& directory);

// What generation_config.json asks for: greedy unless it samples (do_sample, or a temperature without do_sample).
SamplingParams default_sampling(const HfGenerationConfig& config);

}  // namespace trimeter
