#include "lab/subject.h"

#include "base/error.h"

namespace trimeter {

std::vector<int32_t> Subject::encode_text(std::string_view text) const { return tokenizer.encode(text, true); }

std::vector<int32_t> Subject::encode_chat(const std::vector<ChatMessage>& messages) const {
  if (tokenizer.chat_template().empty())
    throw Error(Errc::kUnsupported, "{}: no chat_template: this model is not made for chat",
                (directory / "tokenizer_config.json").string());
  const ChatTemplate chat(tokenizer.chat_template());
  const std::string text = chat.render(messages, true, tokenizer.bos_token(), tokenizer.eos_token());
  return tokenizer.encode(text, false);  // the template has written the special tokens
}

Subject read_subject(const std::filesystem::path& directory) {
  std::error_code unreadable;
  if (!std::filesystem::is_directory(directory, unreadable))
    throw Error(Errc::kNotFound, "{}: wanted the directory of a Hugging Face checkpoint, found {}", directory.string(),
                std::filesystem::exists(directory, unreadable) ? "a file" : "nothing");
  const HfConfig config = read_hf_config(directory);
  return {directory, make_model_spec(config), read_hf_generation_config(directory), Tokenizer::open(directory)};
}

SamplingParams default_sampling(const HfGenerationConfig& config) {
  SamplingParams params;
  params.repetition_penalty = config.repetition_penalty.value_or(1.0);
  if (!config.do_sample.value_or(config.temperature.has_value())) {
    params.temperature = 0;
    return params;
  }
  params.temperature = config.temperature.value_or(1.0);
  params.top_k = config.top_k.value_or(0);
  params.top_p = config.top_p.value_or(1.0);
  params.min_p = config.min_p.value_or(0.0);
  return params;
}

}  // namespace trimeter
