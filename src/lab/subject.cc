#include "lab/subject.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>

#include "base/error.h"
#include "containers/gguf_model.h"
#include "engine/special_tokens.h"

namespace trimeter {
namespace {

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// What looks like a control token, "<|im_start|>", each once.
std::set<std::string> markers_in(std::string_view text) {
  std::set<std::string> markers;
  for (size_t begin = 0; (begin = text.find("<|", begin)) != text.npos; begin += 2) {
    size_t end = begin + 2;
    while (end < text.size() && is_word(text[end])) ++end;
    if (end > begin + 2 && text.substr(end).starts_with("|>")) markers.emplace(text.substr(begin, end + 2 - begin));
  }
  return markers;
}

// Of the markers that the template spells either all are tokens or none is: some models were taught theirs as text
// (Tulu 3: "<|user|>"), but one that is missing among others would come as text where the model knows a token.
void check_markers(std::string_view rendered, const Tokenizer& tokenizer) {
  std::set<std::string> markers;
  std::ranges::set_intersection(markers_in(tokenizer.chat_template()), markers_in(rendered),
                                std::inserter(markers, markers.end()));
  const auto is_token = [&](const std::string& marker) { return tokenizer.token_id(marker).has_value(); };
  const auto missing = std::ranges::find_if_not(markers, is_token), other = std::ranges::find_if(markers, is_token);
  if (missing != markers.end() && other != markers.end())
    throw Error(Errc::kBadFile, "chat template: wanted '{}' as a token in tokenizer.json, as '{}' is, got none",
                *missing, *other);
}

}  // namespace

std::vector<int32_t> Subject::encode_text(std::string_view text) const { return tokenizer.encode(text, true); }

std::vector<int32_t> Subject::encode_chat(const std::vector<ChatMessage>& messages) const {
  if (tokenizer.chat_template().empty())
    throw Error(Errc::kUnsupported, "{}: no chat_template: this model is not made for chat",
                tokenizer.chat_template_path());
  try {
    const ChatTemplate chat(tokenizer.chat_template());
    const std::string text = chat.render(messages, true, tokenizer.bos_token(), tokenizer.eos_token());
    check_markers(text, tokenizer);
    return tokenizer.encode(text, false);  // the template has written the special tokens
  } catch (const Error& error) {
    throw Error(error.code(), "{}: {}", tokenizer.chat_template_path(), error.what());
  }
}

Subject read_subject(const std::filesystem::path& directory) {
  if (is_gguf(directory)) {
    const GgufModel model = GgufModel::open(directory);
    return {directory, model.spec(), model.generation(), Tokenizer::from_gguf(model.vocabulary(), directory.string())};
  }
  std::error_code unreadable;
  if (!std::filesystem::is_directory(directory, unreadable))
    throw Error(Errc::kNotFound, "{}: wanted the directory of a Hugging Face checkpoint, found {}", directory.string(),
                std::filesystem::exists(directory, unreadable) ? "a file" : "nothing");
  const HfConfig config = read_hf_config(directory);
  Subject subject{directory, read_model_spec(directory), read_hf_generation_config(directory),
                  Tokenizer::open(directory)};
  end_tokens(config, subject.generation, subject.tokenizer);
  return subject;
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
